"""Small stages of training, and what tests do with them: run, kill and compare them."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from palimpsest.artifact import Manifest, write_json
from palimpsest.codec import encode
from palimpsest.progress import Progress
from palimpsest.replay.build_pool import build_pool
from palimpsest.settings.replay import Mer, ReplayShare, ReplaySpec
from palimpsest.settings.training import Train
from palimpsest.specs.data import NewText, PastText, PoolSpec
from palimpsest.specs.training import InitSpec, RandomModel, TrainSpec
from palimpsest.train.checkpoint import STATE_FILE
from palimpsest.train.init_model import init_model
from palimpsest.train.metrics import StepRecord, read_metrics
from palimpsest.train.trainer import train
from palimpsest.train.training_parts import Inputs

CONTEXT = 16
SHAPE = RandomModel(layers=2, width=32, heads=2, ffn=48, tie_embeddings=False)
TRAIN = Train(
    steps=30, batch_size=4, context_length=CONTEXT, learning_rate=3e-3, min_learning_rate=3e-4, warmup_fraction=0.1,
    eval_interval=10, eval_tokens=100, alignment_interval=None,
)  # fmt: skip
BUDGET = TRAIN.steps * TRAIN.batch_size
REPLAY = ReplaySpec(rate=Decimal("0.25"))
# So that generous that only a process that hangs reaches it, also on a busy machine.
LIMIT_S = 300


@dataclass(frozen=True)
class Stage:
    """What a stage trains, and the folders that it reads."""

    spec: TrainSpec
    inputs: Inputs

    def with_settings(self, **settings: Any) -> Stage:
        """With other settings of params' train."""
        return replace(self, spec=replace(self.spec, train=replace(self.spec.train, **settings)))

    def with_mer(self, **values: Any) -> Stage:
        """With other settings of mer."""
        assert self.spec.mer
        return replace(self, spec=replace(self.spec, mer=replace(self.spec.mer, **values)))

    def without_mer(self) -> Stage:
        """With replay alone."""
        return replace(self, spec=replace(self.spec, mer=None))

    def with_inputs(self, **folders: Any) -> Stage:
        """With other folders."""
        return replace(self, inputs=replace(self.inputs, **folders))

    def train(self, out: Path, *, discard_checkpoints: bool = False) -> Manifest:
        """Train it in this process."""
        return train(self.spec, self.inputs, out, discard_checkpoints=discard_checkpoints)

    def command(self, out: Path, launcher: Sequence[str] | None = None) -> list[str]:
        """The command that trains it, by default under torchrun where there are several processes."""
        spec_file = out.parent / f"{out.name}.spec.json"
        write_json(spec_file, encode(self.spec))
        processes = self.spec.train.processes
        if launcher is None:
            launcher = torchrun("--standalone", f"--nproc-per-node={processes}") if processes > 1 else []
        inputs = self.inputs
        pool = ["--pool", str(inputs.pool)] if inputs.pool else []
        return [
            sys.executable, *launcher, "-m", "palimpsest.cli", "train", "--spec", str(spec_file),
            "--parent", str(inputs.parent), "--tokens", *map(str, inputs.tokens.values()),
            "--tokenizer", str(inputs.tokenizer), *pool, "--out", str(out),
        ]  # fmt: skip


def torchrun(*options: str) -> list[str]:
    """What goes between the interpreter and ``-m palimpsest.cli`` to start several processes."""
    return ["-m", "torch.distributed.run", *options]


def train_spec(
    stage: int,
    languages: str | Sequence[str],
    *,
    past: Sequence[str] = (),
    replay: ReplaySpec | None = None,
    mer: Mer | None = None,
    sequences: int = BUDGET,
    **settings: Any,
) -> TrainSpec:
    """Stage number ``stage`` of three languages; ``past`` stages replayed nothing."""
    languages = [languages] if isinstance(languages, str) else languages
    return TrainSpec(
        stage=stage,
        stages=3,
        new=tuple(NewText(language=language, sequences=sequences) for language in languages),
        past=tuple(past_text(language) for language in past),
        languages=("en", "fr", "de"),
        replay=replay,
        mer=mer,
        seed=0,
        train=replace(TRAIN, **settings),
        data_fingerprints={},
        pool_revision=2 if replay else None,
    )


def past_text(language: str, replay: ReplayShare | None = None) -> PastText:
    """An earlier stage of as many sequences as the others."""
    return PastText(language=language, sequences=BUDGET, replay=replay)


def write_pool(spec: TrainSpec, tokens: dict[str, Path], out: Path) -> Path:
    """The pool that a stage replays from."""
    assert spec.replay
    pool = PoolSpec(
        stage=spec.stage,
        seed=spec.seed,
        context_length=spec.train.context_length,
        batch_size=spec.train.batch_size,
        new=spec.new[0],
        past=spec.past,
        replay=spec.replay,
    )
    build_pool(pool, tokens, out)
    return out


def write_initial_model(
    out: Path, tokenizer: Path, shape: RandomModel = SHAPE, context_length: int = CONTEXT
) -> Manifest:
    """A runs/{root} with random weights."""
    spec = InitSpec(model=shape, context_length=context_length, seed=0, data_fingerprint="")
    return init_model(spec, tokenizer, out)


def step_records(run: Path) -> list[StepRecord]:
    """The steps in a run's metrics.jsonl."""
    return [record for record in read_metrics(run / "metrics.jsonl") if isinstance(record, StepRecord)]


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until a condition holds; fails where the process that should bring it about has ended."""
    give_up = time.monotonic() + LIMIT_S
    while not condition():
        assert process is None or process.poll() is None, "the process ended early"
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.001)


def stop_at(process: subprocess.Popen[Any], out: Path, step: int, send: Callable[[], object]) -> int:
    """Call ``send`` as soon as the checkpoint after ``step`` steps exists; returns the exit status."""
    wait_for((out / f"checkpoint-{step:08d}" / STATE_FILE).exists, process)
    send()
    return process.wait(LIMIT_S)


def torchrun_workers(launcher: subprocess.Popen[Any]) -> list[int]:
    """The ids of the processes that a torchrun started, in order of rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return [int(child) for child in children if b"--spec" in Path(f"/proc/{child}/cmdline").read_bytes()]


class DiedError(Exception):
    """Stands for the death of a process."""


def die_after(step: int, stage: Stage, out: Path) -> Path:
    """Train until ``step`` is done, whose work is lost; returns the last checkpoint, which is on disk."""

    def die(_progress: Progress, done: float, _note: object) -> None:
        if done == step:
            raise DiedError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DiedError):
        patch.setattr(Progress, "update", die)
        stage.train(out)
    gc.collect()  # closes metrics.jsonl, which changes no more
    settings = stage.spec.train
    last = (step - 1) // settings.checkpoint_interval * settings.checkpoint_interval
    latest = out / f"checkpoint-{last:08d}"
    # A thread writes it, and removes earlier ones.
    wait_for(
        lambda: (latest / STATE_FILE).exists() and len(list(out.glob("*checkpoint-*"))) <= settings.keep_checkpoints
    )
    return latest


def assert_same_files(one: Path, other: Path) -> None:
    """Two folders hold the same files to the byte."""
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def assert_close_tensors(one: Path, other: Path, *names: str) -> None:
    """The tensors in the files ``names`` of two folders differ only by the order of sums."""
    for file in names:
        found, expected = load_file(one / file), load_file(other / file)
        assert found.keys() == expected.keys()
        for name in found:
            # AdamW divides by the root of small numbers, and 40 steps add up.
            torch.testing.assert_close(found[name], expected[name], rtol=2e-3, atol=2e-4)
