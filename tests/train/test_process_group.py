"""Several processes, started by torchrun and talking by gloo, beside one: weights, bytes, kills and resumes."""

import dataclasses
import fcntl
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from palimpsest.errors import TrainingError
from palimpsest.train import init_model
from palimpsest.train.data import Batches, share
from palimpsest.train.metrics_log import read as read_metrics
from palimpsest.train.trainer import train

BOTH = ("model.safetensors", "optimizer.safetensors")


def on(mer, processes, sharding="ddp", **settings):
    asked, inputs = mer
    return asked | {"train": asked["train"] | settings | {"processes": processes, "sharding": sharding}}, inputs


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_the_shares_of_all_ranks_are_the_global_batch(mer, ranks):
    asked, inputs = mer
    batches = Batches(asked, inputs.tokens, inputs.pool)
    for step in (0, 1, 17, len(batches) - 1):
        rows, is_replayed = batches[step]
        parts = [batches.share(step, rank, ranks) for rank in range(ranks)]
        assert np.array_equal(np.concatenate([part for part, _ in parts]), rows)
        assert all(np.array_equal(replayed, is_replayed) for _, replayed in parts)
        sizes = [len(part) for part, _ in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("start", [0, 17, -1, None])
def test_what_is_read_ahead_is_the_share_of_each_step(mer, start):
    asked, inputs = mer
    batches = Batches(asked, inputs.tokens, inputs.pool)
    steps = range(len(batches))[start:] if start is not None else range(0)
    first = steps.start if len(steps) else len(batches)
    for step, (rows, is_replayed) in zip(steps, batches.ahead(first, 1, 3), strict=True):
        expected = batches.share(step, 1, 3)
        assert np.array_equal(rows, expected[0]) and np.array_equal(is_replayed, expected[1])


def test_shares_are_contiguous_and_widest_by_at_most_one():
    for sequences in range(1, 40):
        for ranks in range(1, 9):
            shares = [share(sequences, rank, ranks) for rank in range(ranks)]
            assert [place for part in shares for place in part] == list(range(sequences))
            assert max(map(len, shares)) == -(-sequences // ranks)


def test_another_number_of_processes_than_asked_for_is_refused(mer, tmp_path):
    with pytest.raises(TrainingError, match=r"train\.processes is 2, but 1 run"):
        train(*on(mer, 2), tmp_path / "run", 1000)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


# One of several processes, told what torchrun tells them.
RANK = """
import os, sys
os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
here = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
os.environ.update({name: str(number) for name, number in here.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
from palimpsest import cli
sys.exit(cli.main(arguments))
"""


@pytest.fixture(scope="module")
def together(command):
    """Train by several processes; what they say.

    They are forked from one that has torch already, which takes seconds to import.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["palimpsest.train.trainer"])

    def run(mer, out):
        line, processes, said = command(mer, out, 1000), mer[0]["train"]["processes"], out.with_suffix(".stderr")
        given = {"processes": processes, "port": free_port(), "arguments": line[line.index("train") :], "said": said}
        started = [context.Process(target=exec, args=(RANK, given | {"rank": rank})) for rank in range(processes)]
        for process in started:
            process.start()
        for process in started:
            process.join(60)
        assert [process.exitcode for process in started] == [0] * processes, said.read_text()
        return said.read_text()

    return run


@pytest.fixture(scope="module")
def trained(mer, together, tmp_path_factory):
    """The stage on so many processes, made once."""
    made = {}

    def run(processes, sharding, **settings):
        key = (processes, sharding, *settings.items())
        if key not in made:
            made[key] = tmp_path_factory.mktemp("ranks") / "run"
            together(on(mer, processes, sharding, **settings), made[key])
        return made[key]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
@pytest.mark.parametrize("processes", [2, 4])
def test_weights_do_not_depend_on_the_number_of_processes(close, trained, straight, processes, sharding):
    out = trained(processes, sharding)
    close(out, straight, *BOTH)
    close_lines(out, straight)


def close_lines(out, other):
    """The same steps, and losses, norms and cosines that are close."""
    ours, theirs = ((folder / "metrics.jsonl").read_text().splitlines() for folder in (out, other))
    for one, other in zip(map(json.loads, ours), map(json.loads, theirs), strict=True):
        assert one.pop("validation", {}) == pytest.approx(other.pop("validation", {}), rel=1e-4)
        assert one.pop("at", None) == other.pop("at", None)
        for key in ("alignment", "norm_new", "norm_replayed"):
            assert one.pop(key, {}) == pytest.approx(other.pop(key, {}), rel=5e-3, abs=5e-3), key
        assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_uneven_shares_and_micro_batches_change_nothing_but_the_order_of_sums(close, trained, straight, sharding):
    """Batches of 4 on 3 processes, a row at a time: shares of 1, 1 and 2; the one replayed row is one process's."""
    out = trained(3, sharding, micro_batch_size=1)
    close(out, straight, *BOTH)
    close_lines(out, straight)


@pytest.mark.slow
def test_measured_alignment_changes_no_bit(trained):
    measured = trained(3, "fsdp", micro_batch_size=1)
    plain = trained(3, "fsdp", micro_batch_size=1, alignment_interval=None)
    assert "alignment" in (measured / "metrics.jsonl").read_text()
    assert "alignment" not in (plain / "metrics.jsonl").read_text()
    for name in BOTH:
        assert (measured / name).read_bytes() == (plain / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_a_process_killed_in_mid_window_and_all_resumed_end_with_the_same_bytes(
    trained, together, mer, command, stop_at, workers, same_files, tmp_path, sharding
):
    """Three processes, since with two a sum has but one order."""
    out, asked = tmp_path / "run", on(mer, 3, sharding, micro_batch_size=1)
    launcher = subprocess.Popen(command(asked, out, 3))
    assert stop_at(launcher, out, 9, lambda: os.kill(workers(launcher)[-1], signal.SIGKILL)) == 1
    assert not (out / "manifest.json").exists()
    assert together(asked, out).count("resuming after step") == 1
    same_files(out, trained(3, sharding, micro_batch_size=1))


@pytest.mark.slow
def test_one_process_under_torchrun_has_its_weights_spread_over_itself(close, straight, mer, command, tmp_path):
    once = command(on(mer, 1, "fsdp"), tmp_path / "run", 1000)
    once[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    subprocess.run(once, check=True, timeout=60)
    close(tmp_path / "run", straight, *BOTH)
    close_lines(tmp_path / "run", straight)


@pytest.mark.slow
def test_weights_that_are_tied_stay_so_when_they_are_spread(close, mer, together, tokenizer, tmp_path):
    shape = {"layers": 2, "width": 32, "heads": 2, "ffn": 48, "tie_embeddings": True}
    init_model.build({"model": shape, "context_length": 16, "seed": 0}, tokenizer, tmp_path / "init")
    asked, inputs = mer[0], dataclasses.replace(mer[1], parent=tmp_path / "init")
    train(asked, inputs, tmp_path / "one", 1000)
    together(on((asked, inputs), 2, "fsdp"), tmp_path / "two")
    close(tmp_path / "two", tmp_path / "one", *BOTH)
    assert "lm_head.weight" not in load_file(tmp_path / "two" / "model.safetensors")


@pytest.mark.slow
def test_slices_of_moments_begin_anew_after_an_interpolation_where_that_is_asked_for(close, mer, together, tmp_path):
    """With an ε of AdamW's that is above the noise of sums: its first step divides each gradient by its own size."""
    asked = mer[0] | {"mer": mer[0]["mer"] | {"moments": "reset"}}
    train(*on((asked, mer[1]), 1, epsilon=1e-3), tmp_path / "one", 1000)
    together(on((asked, mer[1]), 2, "fsdp", epsilon=1e-3), tmp_path / "two")
    close(tmp_path / "two", tmp_path / "one", *BOTH)
    assert not any(values.any() for values in load_file(tmp_path / "two" / "optimizer.safetensors").values())


@pytest.mark.slow
def test_two_machines_that_meet_by_c10d_train_as_one_with_two_processes(trained, mer, command, same_files, tmp_path):
    """Two launchers with a process each, as one would start them on two machines that share a folder."""
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    once = command(on(mer, 2, "fsdp"), tmp_path / "run", 1000)
    once[once.index("--standalone") : once.index("--nproc-per-node=2") + 1] = meeting
    machines = [subprocess.Popen(once) for _ in range(2)]
    assert [machine.wait(90) for machine in machines] == [0, 0]
    same_files(tmp_path / "run", trained(2, "fsdp"))


@pytest.mark.slow
def test_where_the_first_process_refuses_all_end_and_one_says_why(mer, command, die_at, tmp_path):
    """Checkpoints of other params, and a folder that is held."""
    out, asked = tmp_path / "run", on(mer, 2, "fsdp", learning_rate=2e-3)
    die_at(25, *mer, out, 10)
    for spoil, why in (
        (lambda: None, "is of a training on other data or params"),
        (lambda: fcntl.flock(os.open(out / ".lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX), "another process trains"),
    ):
        spoil()
        done = subprocess.run(command(asked, out, 1000), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert done.stderr.count("error: ") == 1 and why in done.stderr, done.stderr
        # Neither torchrun's own report nor a second process's misery.
        assert "Connection" not in done.stderr and "RuntimeError" not in done.stderr, done.stderr


@pytest.mark.slow
def test_a_signal_to_torchrun_keeps_a_checkpoint_and_exits_non_zero(
    trained, together, mer, command, stop_at, workers, same_files, tmp_path, monkeypatch
):
    """With what the workflow says to torchrun, which knows nothing of SIGUSR1 by itself; or to one process alone."""
    rules = (Path(__file__).parents[2] / "workflow" / "rules" / "common.smk").read_text()
    for name, value in re.findall(r"\b(PET_\w+)=([\w,]+)", rules):
        monkeypatch.setenv(name, value)
    out, asked = tmp_path / "run", on(mer, 2, "fsdp")
    for number, after, alone in ((signal.SIGTERM, 6, False), (signal.SIGUSR1, 15, False), (signal.SIGTERM, 24, True)):
        launcher = subprocess.Popen(command(asked, out, 3), stderr=subprocess.PIPE, text=True)
        started = []

        def send(launcher=launcher, number=number, started=started, alone=alone):
            started.extend(workers(launcher))
            os.kill(started[-1] if alone else launcher.pid, number)

        assert stop_at(launcher, out, after, send) == 1
        assert len(started) == 2
        assert not [worker for worker in started if Path(f"/proc/{worker}").exists()]
        said = launcher.stderr.read()
        assert said.count("error: stopped by a signal") == 1, said
        assert len(list(out.glob("checkpoint-*/state.json"))) == 1
    together(asked, out)
    same_files(out, trained(2, "fsdp"))


@pytest.mark.slow
def test_a_training_goes_on_with_another_number_of_processes_and_back(
    close, straight, together, mer, command, stop_at, tmp_path
):
    out = tmp_path / "run"
    for processes, step in ((2, 6), (1, 18)):
        process = subprocess.Popen(command(on(mer, processes, "fsdp"), out, 3), stderr=subprocess.DEVNULL)
        assert stop_at(process, out, step, process.terminate) != 0
    assert "resuming after step" in together(on(mer, 2, "fsdp"), out)
    close(out, straight, *BOTH)


@pytest.mark.slow
def test_bf16_masks_and_recomputation_work_on_slices(trained, mer, tmp_path):
    """FSDP casts weights where one process uses autocast, so the two agree as far as the eight bits of bf16 go."""
    settings = {"precision": "bf16", "activation_checkpointing": True, "document_mask": True}
    out = trained(2, "fsdp", **settings)
    train(*on(mer, 1, **settings), tmp_path / "run", 1000)
    found, expected = (read_metrics(folder / "metrics.jsonl") for folder in (out, tmp_path / "run"))
    assert found[0]["loss"] == pytest.approx(expected[0]["loss"], rel=1e-3)
    assert found[-1]["validation"] == pytest.approx(expected[-1]["validation"], rel=2e-2)
    weights = load_file(out / "model.safetensors").values()
    assert all(weight.dtype == torch.float32 for weight in weights)
    assert not any(torch.equal(weight, weight.bfloat16().float()) for weight in weights if weight.ndim == 2)
