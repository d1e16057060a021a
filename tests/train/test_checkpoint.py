"""Checkpoints as files: who writes which rows, how many are kept, and what a death or a full disk leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import (
    LIMIT_S,
    Stage,
    assert_close_tensors,
    assert_same_files,
    die_after,
    torchrun_workers,
    wait_for,
)
from torch import Tensor
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from palimpsest.errors import TrainingError
from palimpsest.train import checkpoint
from palimpsest.train.distributed.sharding import local_rows, owned_rows

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
def rank_of(rank: int, count: int) -> Iterator[None]:
    """This process as one of several that do not exist; what it does must send nothing."""
    dist.init_process_group("fake", rank=rank, world_size=count, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(tensor: Tensor, count: int, sharding: str) -> Tensor:
    placements: list[Placement] = [Shard(0)]
    if sharding == "ddp":
        mesh, placements = init_device_mesh("cpu", (count, 1)), [Replicate(), Shard(0)]
    else:
        mesh = init_device_mesh("cpu", (count,))
    return distribute_tensor(tensor.clone(), mesh, placements, src_data_rank=None)


SHARDING = st.tuples(st.integers(1, 5), st.sampled_from(["ddp", "fsdp"]))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), SHARDING, SHARDING, st.randoms())
@settings(max_examples=40, deadline=None)
def test_what_some_processes_wrote_any_others_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[int],
    writers: tuple[int, str],
    readers: tuple[int, str],
    order: random.Random,
) -> None:
    """Every row is written once, and each reader has what torch cuts for it, whatever the order of the files."""
    folder = tmp_path_factory.mktemp("slices")
    full = {f"{index}": torch.rand(count, 3) for index, count in enumerate(rows)} | {"step": torch.rand(1)}
    files, written = [], dict.fromkeys(full, 0)
    for rank in range(writers[0]):
        with rank_of(rank, writers[0]):
            owned = {
                name: owned_rows(tensor if name == "step" else shard(tensor, *writers), rank, writers[0])
                for name, tensor in full.items()
            }
        pieces = {name: (piece.clone(), first) for name, (piece, first) in owned.items() if len(piece)}
        for name, (piece, first) in pieces.items():
            assert torch.equal(piece, full[name][first : first + len(piece)])
            written[name] += len(piece)
        metadata = {"first_rows": json.dumps({name: first for name, (_, first) in pieces.items()})}
        files.append(folder / f"{rank}.safetensors")
        checkpoint.write_tensors({name: piece for name, (piece, _) in pieces.items()}, files[-1], metadata)
    assert written == {name: len(tensor) for name, tensor in full.items()}
    order.shuffle(files)
    for rank in range(readers[0]):
        with rank_of(rank, readers[0]):
            expected = {name: shard(tensor, *readers) for name, tensor in full.items()}
            found = {name: shard(torch.zeros_like(tensor), *readers) for name, tensor in full.items()}
            checkpoint.read_tensors(found, files)
            assert all(torch.equal(local_rows(found[name])[0], local_rows(expected[name])[0]) for name in full)


def test_files_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    checkpoint.write_tensors({"a": torch.ones(4, 3)}, path, {})
    for other in ({"b": (4, 3)}, {"a": (4, 3), "b": (1,)}, {"a": (5, 3)}, {"a": (4, 1)}, {"a": (4,)}, {}):
        with pytest.raises(TrainingError, match=r"one\.safetensors: its tensors do not match this model"):
            checkpoint.read_tensors({name: torch.zeros(shape) for name, shape in other.items()}, [path])


def command_by(script: str, stage: Stage, tmp_path: Path, out: Path) -> list[str]:
    """The command that trains with a checkpoint every 5 steps, by ``script`` in place of the command line."""
    (tmp_path / "broken.py").write_text(script)
    command = stage.with_settings(checkpoint_interval=5).command(out)
    module = command.index("palimpsest.cli")
    return [*command[: module - 1], str(tmp_path / "broken.py"), *command[module + 1 :]]


def on_processes(stage: Stage, processes: int) -> Stage:
    return stage.with_settings(processes=processes, sharding="fsdp") if processes > 1 else stage


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigkill_while_a_checkpoint_is_written_leaves_the_earlier_one_complete(
    mer: Stage, straight: Path, tmp_path: Path, processes: int
) -> None:
    out, stage = tmp_path / "run", on_processes(mer, processes)
    hanging = BROKEN.replace("WHAT", f"time.sleep({2 * LIMIT_S})")
    process = subprocess.Popen(command_by(hanging, stage, tmp_path, out))
    wait_for(
        lambda: (
            (out / "checkpoint-00000005").exists()
            and len(list(out.glob(".checkpoint-00000010.tmp/*.safetensors"))) == processes
        ),
        process,
    )
    os.kill(process.pid if processes == 1 else torchrun_workers(process)[-1], signal.SIGKILL)
    process.wait(LIMIT_S)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000005"]
    assert sorted(path.name for path in (out / "checkpoint-00000005").iterdir()) == [
        *(f"rank-{rank:05d}.safetensors" for rank in range(processes)),
        "state.json",
    ]
    done = subprocess.run(stage.command(out), check=True, capture_output=True, text=True)
    assert "resuming after step 5 of 40" in done.stderr
    if processes == 1:
        assert_same_files(out, straight)
    else:
        assert_close_tensors(out, straight, "model.safetensors")


@pytest.mark.slow
def test_a_process_that_cannot_write_its_part_stops_all_and_leaves_the_earlier_checkpoint(
    mer: Stage, tmp_path: Path
) -> None:
    out, stage = tmp_path / "run", on_processes(mer, 2)
    full = BROKEN.replace("WHAT", 'raise OSError(errno.ENOSPC, "No space left on device", str(path))')
    command = command_by(full, stage, tmp_path, out)
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1
    assert "rank-00001.safetensors: No space left on device" in done.stderr
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000005"]


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_checkpoints_are_retained_and_the_latest_is_resumed_from(
    mer: Stage, straight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, keep: int
) -> None:
    out, stage = tmp_path / "run", mer.with_settings(checkpoint_interval=4, keep_checkpoints=keep)
    die_after(29, stage, out)
    assert sorted(path.name for path in out.glob("checkpoint-*")) == [
        f"checkpoint-{step:08d}" for step in (20, 24, 28)[-keep:]
    ]
    with caplog.at_level("INFO"):
        stage.train(out)
    assert "resuming after step 28 of 40" in caplog.text
    assert_same_files(out, straight)
