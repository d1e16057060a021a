"""Several processes, started by torchrun and communicating by gloo, beside one: weights, bytes, kills and resumes."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.training import (
    LIMIT_S,
    SHAPE,
    Stage,
    assert_close_tensors,
    assert_same_files,
    die_after,
    stop_at,
    torchrun,
    torchrun_workers,
    write_initial_model,
)

from palimpsest.errors import TrainingError
from palimpsest.train.data import Batches, rank_slice
from palimpsest.train.metrics import (
    AlignmentRecord,
    MetricsRecord,
    StepRecord,
    ValidationRecord,
    encode_record,
    read_metrics,
)

BOTH = ("model.safetensors", "optimizer.safetensors")
Sharding = Literal["ddp", "fsdp"]
TrainTogether = Callable[[Stage, Path], str]
Trained = Callable[..., Path]


def on_processes(stage: Stage, processes: int, sharding: Sharding = "ddp", **settings: Any) -> Stage:
    return stage.with_settings(processes=processes, sharding=sharding, **settings)


def batches_of(stage: Stage) -> Batches:
    return Batches(stage.spec, stage.inputs.tokens, stage.inputs.pool)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7])
def test_the_slices_of_all_ranks_are_the_global_batch(mer: Stage, world_size: int) -> None:
    batches = batches_of(mer)
    for step in (0, 1, 17, len(batches) - 1):
        rows, is_replayed = batches[step]
        parts = [batches.of_rank(step, rank, world_size) for rank in range(world_size)]
        assert np.array_equal(np.concatenate([part.rows for part in parts]), rows)
        assert all(np.array_equal(part.is_replayed, is_replayed) for part in parts)
        sizes = [len(part.rows) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("start", [0, 17, -1, None])
def test_what_is_prefetched_is_the_slice_of_each_step(mer: Stage, start: int | None) -> None:
    batches = batches_of(mer)
    steps = range(len(batches))[start:] if start is not None else range(0)
    first = steps.start if len(steps) else len(batches)
    for step, batch in zip(steps, batches.prefetch(first, 1, 3), strict=True):
        expected = batches.of_rank(step, 1, 3)
        assert np.array_equal(batch.rows, expected.rows) and np.array_equal(batch.is_replayed, expected.is_replayed)


def test_slices_are_contiguous_and_differ_by_at_most_one() -> None:
    for total in range(1, 40):
        for world_size in range(1, 9):
            slices = [rank_slice(total, rank, world_size) for rank in range(world_size)]
            assert [index for part in slices for index in part] == list(range(total))
            assert max(map(len, slices)) == -(-total // world_size)


def test_another_number_of_processes_than_requested_is_refused(mer: Stage, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.processes is 2, but 1 were started"):
        on_processes(mer, 2).train(tmp_path / "run")


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


# One of several processes, with the environment that torchrun sets.
RANK = """
import os, sys
os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
local = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
os.environ.update({name: str(number) for name, number in local.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
from palimpsest import cli
sys.exit(cli.main(arguments))
"""


@pytest.fixture(scope="module")
def train_together() -> TrainTogether:
    """Trains by several processes; returns what they print.

    They are forked from one that has torch already, which takes seconds to import.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["palimpsest.train.trainer", "torch.distributed.fsdp"])

    def run(stage: Stage, out: Path) -> str:
        command, processes, stderr = stage.command(out), stage.spec.train.processes, out.with_suffix(".stderr")
        arguments = command[command.index("palimpsest.cli") + 1 :]
        values = {"processes": processes, "port": free_port(), "arguments": arguments, "stderr": stderr}
        started = [context.Process(target=exec, args=(RANK, values | {"rank": rank})) for rank in range(processes)]
        for process in started:
            process.start()
        for process in started:
            process.join(LIMIT_S)
        assert [process.exitcode for process in started] == [0] * processes, stderr.read_text()
        return stderr.read_text()

    return run


@pytest.fixture(scope="module")
def trained(mer: Stage, train_together: TrainTogether, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The finished stage on so many processes, trained once."""
    runs: dict[Any, Path] = {}

    def run(processes: int, sharding: Sharding, **settings: Any) -> Path:
        key = (processes, sharding, *settings.items())
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("ranks") / "run"
            train_together(on_processes(mer, processes, sharding, **settings), runs[key])
        return runs[key]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
@pytest.mark.parametrize("processes", [2, 4])
def test_weights_do_not_depend_on_the_number_of_processes(
    trained: Trained, straight: Path, processes: int, sharding: Sharding
) -> None:
    out = trained(processes, sharding)
    assert_close_tensors(out, straight, *BOTH)
    assert_close_records(out, straight)


def assert_close_records(out: Path, other: Path) -> None:
    """The same steps, and losses, norms and cosines that are close."""
    records = (read_metrics(folder / "metrics.jsonl") for folder in (out, other))
    for found, expected in zip(*records, strict=True):
        assert_close_record(found, expected)


def assert_close_record(found: MetricsRecord, expected: MetricsRecord) -> None:
    assert type(found) is type(expected) and found.step == expected.step
    if isinstance(found, StepRecord):
        assert encode_record(found) == pytest.approx(encode_record(expected), rel=1e-3)
    if isinstance(found, ValidationRecord) and isinstance(expected, ValidationRecord):
        assert found.tokens == expected.tokens
        assert dict(found.validation) == pytest.approx(dict(expected.validation), rel=1e-4)
    if isinstance(found, AlignmentRecord) and isinstance(expected, AlignmentRecord):
        assert found.at == expected.at
        for kind in ("alignment", "norm_new", "norm_replayed"):
            assert getattr(found, kind) == pytest.approx(getattr(expected, kind), rel=5e-3, abs=5e-3), kind


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_uneven_slices_and_micro_batches_change_nothing_but_the_order_of_sums(
    trained: Trained, straight: Path, sharding: Sharding
) -> None:
    """Batches of 4 on 3 processes, a row at a time: slices of 1, 1 and 2; the one replayed row is one process's."""
    out = trained(3, sharding, micro_batch_size=1)
    assert_close_tensors(out, straight, *BOTH)
    assert_close_records(out, straight)


@pytest.mark.slow
def test_measured_alignment_changes_no_bit(trained: Trained) -> None:
    measured = trained(3, "fsdp", micro_batch_size=1)
    plain = trained(3, "fsdp", micro_batch_size=1, alignment_interval=None)
    assert "alignment" in (measured / "metrics.jsonl").read_text()
    assert "alignment" not in (plain / "metrics.jsonl").read_text()
    for name in BOTH:
        assert (measured / name).read_bytes() == (plain / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_a_process_killed_in_mid_window_and_all_resumed_end_with_the_same_bytes(
    trained: Trained, train_together: TrainTogether, mer: Stage, tmp_path: Path, sharding: Sharding
) -> None:
    """Three processes, since with two a sum has but one order."""
    out, stage = tmp_path / "run", on_processes(mer, 3, sharding, micro_batch_size=1)
    launcher = subprocess.Popen(stage.with_settings(checkpoint_interval=3).command(out))
    assert stop_at(launcher, out, 9, lambda: os.kill(torchrun_workers(launcher)[-1], signal.SIGKILL)) == 1
    assert not (out / "manifest.json").exists()
    assert train_together(stage, out).count("resuming after step") == 1
    assert_same_files(out, trained(3, sharding, micro_batch_size=1))


@pytest.mark.slow
def test_one_process_under_torchrun_shards_its_weights_over_itself(straight: Path, mer: Stage, tmp_path: Path) -> None:
    command = on_processes(mer, 1, "fsdp").command(tmp_path / "run", torchrun("--standalone", "--nproc-per-node=1"))
    subprocess.run(command, check=True, timeout=LIMIT_S)
    assert_close_tensors(tmp_path / "run", straight, *BOTH)
    assert_close_records(tmp_path / "run", straight)


@pytest.mark.slow
def test_weights_that_are_tied_stay_so_when_they_are_sharded(
    mer: Stage, train_together: TrainTogether, tokenizer: Path, tmp_path: Path
) -> None:
    write_initial_model(tmp_path / "init", tokenizer, replace(SHAPE, tie_embeddings=True))
    stage = mer.with_inputs(parent=tmp_path / "init")
    stage.train(tmp_path / "one")
    train_together(on_processes(stage, 2, "fsdp"), tmp_path / "two")
    assert_close_tensors(tmp_path / "two", tmp_path / "one", *BOTH)
    assert "lm_head.weight" not in load_file(tmp_path / "two" / "model.safetensors")


@pytest.mark.slow
def test_slices_of_moments_are_reset_after_an_interpolation_on_request(
    mer: Stage, train_together: TrainTogether, tmp_path: Path
) -> None:
    """With an ε of AdamW's that is above the noise of sums: its first step divides each gradient by its own size."""
    stage = mer.with_mer(moments="reset").with_settings(epsilon=1e-3)
    stage.train(tmp_path / "one")
    train_together(on_processes(stage, 2, "fsdp"), tmp_path / "two")
    assert_close_tensors(tmp_path / "two", tmp_path / "one", *BOTH)
    assert not any(values.any() for values in load_file(tmp_path / "two" / "optimizer.safetensors").values())


@pytest.mark.slow
def test_two_machines_that_meet_by_c10d_train_as_one_with_two_processes(
    trained: Trained, mer: Stage, tmp_path: Path
) -> None:
    """Two launchers with a process each, as one would start them on two machines that share a folder."""
    rendezvous = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    command = on_processes(mer, 2, "fsdp").command(tmp_path / "run", torchrun(*rendezvous))
    machines = [subprocess.Popen(command) for _ in range(2)]
    assert [machine.wait(LIMIT_S) for machine in machines] == [0, 0]
    assert_same_files(tmp_path / "run", trained(2, "fsdp"))


@pytest.mark.slow
def test_where_the_first_process_refuses_all_end_and_one_reports_why(mer: Stage, tmp_path: Path) -> None:
    """Checkpoints of other params, and a folder that is locked."""
    out = tmp_path / "run"
    command = on_processes(mer, 2, "fsdp", learning_rate=2e-3).command(out)
    die_after(25, mer.with_settings(checkpoint_interval=10), out)
    for obstruct, reason in (
        (lambda: None, "belongs to a run with different data or params"),
        (lambda: fcntl.flock(os.open(out / ".lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX), "another process trains"),
    ):
        obstruct()
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 1
        assert done.stderr.count("error: ") == 1 and reason in done.stderr, done.stderr
        # Neither torchrun's own report nor the errors of a second process.
        assert "Connection" not in done.stderr and "RuntimeError" not in done.stderr, done.stderr


@pytest.mark.slow
def test_a_signal_to_torchrun_saves_a_checkpoint_and_exits_non_zero(
    trained: Trained, train_together: TrainTogether, mer: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the workflow tells torchrun, which by itself ignores SIGUSR1; or to one process alone."""
    rules = (Path(__file__).parents[2] / "workflow" / "rules" / "common.smk").read_text()
    for name, value in re.findall(r"\b(PET_\w+)=([\w,]+)", rules):
        monkeypatch.setenv(name, value)
    out, stage = tmp_path / "run", on_processes(mer, 2, "fsdp")
    command = stage.with_settings(checkpoint_interval=3).command(out)
    for number, after, to_one in ((signal.SIGTERM, 6, False), (signal.SIGUSR1, 15, False), (signal.SIGTERM, 24, True)):
        launcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        workers: list[int] = []

        def send(
            launcher: subprocess.Popen[str] = launcher, number: int = number, workers: list[int] = workers,
            to_one: bool = to_one,
        ) -> None:  # fmt: skip
            workers.extend(torchrun_workers(launcher))
            os.kill(workers[-1] if to_one else launcher.pid, number)

        assert stop_at(launcher, out, after, send) == 1
        assert len(workers) == 2
        assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
        assert launcher.stderr
        printed = launcher.stderr.read()
        assert printed.count("error: stopped by a signal") == 1, printed
        assert len(list(out.glob("checkpoint-*/state.json"))) == 1
    train_together(stage, out)
    assert_same_files(out, trained(2, "fsdp"))


@pytest.mark.slow
def test_a_training_resumes_with_another_number_of_processes_and_back(
    straight: Path, train_together: TrainTogether, mer: Stage, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for processes, step in ((2, 6), (1, 18)):
        command = on_processes(mer, processes, "fsdp", checkpoint_interval=3).command(out)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        assert stop_at(process, out, step, process.terminate) != 0
    assert "resuming after step" in train_together(on_processes(mer, 2, "fsdp"), out)
    assert_close_tensors(out, straight, *BOTH)


@pytest.mark.slow
def test_bf16_masks_and_recomputation_work_on_slices(trained: Trained, mer: Stage, tmp_path: Path) -> None:
    """FSDP casts weights where one process uses autocast, so the two agree as far as the eight bits of bf16 go."""
    settings = {"precision": "bf16", "activation_checkpointing": True, "document_mask": True}
    out = trained(2, "fsdp", **settings)
    mer.with_settings(**settings).train(tmp_path / "run")
    found, expected = (list(read_metrics(folder / "metrics.jsonl")) for folder in (out, tmp_path / "run"))
    assert isinstance(found[0], StepRecord) and isinstance(expected[0], StepRecord)
    assert found[0].loss == pytest.approx(expected[0].loss, rel=1e-3)
    assert isinstance(found[-1], ValidationRecord) and isinstance(expected[-1], ValidationRecord)
    assert dict(found[-1].validation) == pytest.approx(dict(expected[-1].validation), rel=2e-2)
    weights = load_file(out / "model.safetensors").values()
    assert all(weight.dtype == torch.float32 for weight in weights)
    assert not any(torch.equal(weight, weight.bfloat16().float()) for weight in weights if weight.ndim == 2)
