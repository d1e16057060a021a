"""Checkpoints as files: who writes which rows, how many are kept, and what a death or a full disk leaves behind."""

import contextlib
import json
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from palimpsest.errors import TrainingError
from palimpsest.train import checkpoint
from palimpsest.train.distributed.sharding import dealt, held
from palimpsest.train.trainer import train

# The second checkpoint of the process with the highest rank never gets further than its tensors.
BROKEN = """
import errno, os, sys, time
from palimpsest import cli
from palimpsest.train import checkpoint
write, seen = checkpoint.write_tensors, []

def write_badly(tensors, path, metadata):
    write(tensors, path, metadata)
    seen.append(path)
    if len(seen) == 2 and int(os.environ.get("RANK", 0)) == int(os.environ.get("WORLD_SIZE", 1)) - 1:
        WHAT

checkpoint.write_tensors = write_badly
sys.exit(cli.main(sys.argv[1:]))
"""


@contextlib.contextmanager
def rank_of(rank, count):
    """This process as one of several that do not exist; what it does must send nothing."""
    dist.init_process_group("fake", rank=rank, world_size=count, store=FakeStore())
    try:
        yield SimpleNamespace(rank=rank, count=count)
    finally:
        dist.destroy_process_group()


def spread(tensor, count, sharding):
    if sharding == "ddp":
        mesh, placements = init_device_mesh("cpu", (count, 1)), [Replicate(), Shard(0)]
    else:
        mesh, placements = init_device_mesh("cpu", (count,)), [Shard(0)]
    return distribute_tensor(tensor.clone(), mesh, placements, src_data_rank=None)


SPREAD = st.tuples(st.integers(1, 5), st.sampled_from(["ddp", "fsdp"]))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), SPREAD, SPREAD, st.randoms())
@settings(max_examples=40, deadline=None)
def test_what_some_processes_wrote_any_others_read(tmp_path_factory, rows, writers, readers, order):
    """Every row is written once, and each reader has what torch cuts for it, whatever the order of the files."""
    folder = tmp_path_factory.mktemp("slices")
    whole = {f"{place}": torch.rand(count, 3) for place, count in enumerate(rows)} | {"step": torch.rand(1)}
    files, written = [], dict.fromkeys(whole, 0)
    for rank in range(writers[0]):
        with rank_of(rank, writers[0]) as ranks:
            pieces = {
                name: dealt(tensor if name == "step" else spread(tensor, *writers), ranks)
                for name, tensor in whole.items()
            }
        pieces = {name: (piece.clone(), first) for name, (piece, first) in pieces.items() if len(piece)}
        for name, (piece, first) in pieces.items():
            assert torch.equal(piece, whole[name][first : first + len(piece)])
            written[name] += len(piece)
        metadata = {"first_rows": json.dumps({name: first for name, (_, first) in pieces.items()})}
        files.append(folder / f"{rank}.safetensors")
        checkpoint.write_tensors({name: piece for name, (piece, _) in pieces.items()}, files[-1], metadata)
    assert written == {name: len(tensor) for name, tensor in whole.items()}
    order.shuffle(files)
    for rank in range(readers[0]):
        with rank_of(rank, readers[0]):
            expected = {name: spread(tensor, *readers) for name, tensor in whole.items()}
            found = {name: spread(torch.zeros_like(tensor), *readers) for name, tensor in whole.items()}
            checkpoint._fill(found, files)
            assert all(torch.equal(held(found[name])[0], held(expected[name])[0]) for name in whole)


def test_files_of_another_model_are_refused(tmp_path):
    path = tmp_path / "one.safetensors"
    checkpoint.write_tensors({"a": torch.ones(4, 3)}, path, {})
    for other in ({"b": (4, 3)}, {"a": (4, 3), "b": (1,)}, {"a": (5, 3)}, {"a": (4, 1)}, {"a": (4,)}, {}):
        with pytest.raises(TrainingError, match=r"one\.safetensors: holds other tensors than this model has"):
            checkpoint._fill({name: torch.zeros(shape) for name, shape in other.items()}, [path])


def launched(asked, script, tmp_path, command, out):
    """The command that trains with a checkpoint every 5 steps, by ``script``."""
    (tmp_path / "broken.py").write_text(script)
    arguments = command(asked, out, 5)
    start = arguments.index("-m", 3) if "-m" in arguments[3:] else arguments.index("-m")
    return [*arguments[:start], str(tmp_path / "broken.py"), *arguments[start + 2 :]]


def shared_by(mer, processes):
    asked, inputs = mer
    sharing = {"processes": processes, "sharding": "fsdp"} if processes > 1 else {}
    return asked | {"train": asked["train"] | sharing}, inputs


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigkill_while_a_checkpoint_is_written_leaves_the_earlier_one_whole(
    mer, command, workers, straight, same_files, close, tmp_path, processes
):
    out, asked = tmp_path / "run", shared_by(mer, processes)
    process = subprocess.Popen(launched(asked, BROKEN.replace("WHAT", "time.sleep(600)"), tmp_path, command, out))
    give_up = time.monotonic() + 60
    while not (
        (out / "checkpoint-00000005").exists()
        and len(list(out.glob(".checkpoint-00000010.tmp/*.safetensors"))) == processes
    ):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.01)
    os.kill(process.pid if processes == 1 else workers(process)[-1], signal.SIGKILL)
    process.wait(60)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000005"]
    assert sorted(path.name for path in (out / "checkpoint-00000005").iterdir()) == [
        *(f"rank-{rank:05d}.safetensors" for rank in range(processes)),
        "state.json",
    ]
    done = subprocess.run(command(asked, out, 1000), check=True, capture_output=True, text=True)
    assert "resuming after step 5 of 40" in done.stderr
    if processes == 1:
        same_files(out, straight)
    else:
        close(out, straight, "model.safetensors")


@pytest.mark.slow
def test_a_process_that_cannot_write_its_part_stops_all_and_leaves_the_earlier_checkpoint(mer, command, tmp_path):
    out, asked = tmp_path / "run", shared_by(mer, 2)
    full = BROKEN.replace("WHAT", 'raise OSError(errno.ENOSPC, "No space left on device", str(path))')
    done = subprocess.run(
        launched(asked, full, tmp_path, command, out), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "rank-00001.safetensors: No space left on device" in done.stderr
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000005"]


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_checkpoints_are_kept_and_the_latest_is_gone_on_from(
    mer, straight, same_files, tmp_path, die_at, caplog, keep
):
    out = tmp_path / "run"
    die_at(29, *mer, out, 4, keep)
    assert sorted(path.name for path in out.glob("checkpoint-*")) == [
        f"checkpoint-{step:08d}" for step in (20, 24, 28)[-keep:]
    ]
    with caplog.at_level("INFO"):
        train(*mer, out, 4, keep)
    assert "resuming after step 28 of 40" in caplog.text
    same_files(out, straight)
