"""TensorBoard and Weights & Biases: what metrics.jsonl holds, sent there too, and the speed, which it leaves out.

metrics.jsonl stays the truth: nothing is read back from these, and a training ends alike with and without them.
Their packages are imported when they are asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

from palimpsest.errors import TrainingError
from palimpsest.train.progress import share_per_token

_FOLDER = Path("logs")


@dataclass(frozen=True, kw_only=True)
class Training:
    """A stage that writes to ``out`` and goes on after ``start`` steps; no other has its ``fingerprint``."""

    spec: dict[str, Any]
    out: Path
    fingerprint: str
    start: int
    flops_per_token: int
    device: torch.device

    @property
    def lineage(self) -> str:
        """``out`` below the project's runs/; elsewhere its name."""
        runs, out = Path("runs").resolve(), self.out.resolve()
        return out.relative_to(runs).as_posix() if out.is_relative_to(runs) else out.name


class Backend(Protocol):
    """A service that keeps numbers by name and step."""

    def log(self, scalars: dict[str, float], step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Loggers:
    """Sends lines of metrics to the ``names`` of train.loggers; for the first process alone.

    Raises TrainingError, naming train.loggers, where a package is not installed or a service refuses.
    """

    def __init__(self, names: Sequence[str], training: Training) -> None:
        self._backends: list[Backend] = [_BACKENDS[name](training) for name in names]
        self._speed = Speed(training)

    def write(self, line: dict[str, Any]) -> None:
        if not self._backends:
            return
        speed = self._speed.after_step() if "learning_rate" in line else {}
        for backend in self._backends:
            backend.log(scalars(line) | speed, line["step"])

    def sync(self) -> None:
        """Hand over what is buffered; called before the checkpoint that a resumed training would go on from."""
        for backend in self._backends:
            backend.flush()

    def close(self) -> None:
        for backend in self._backends:
            backend.close()


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """A line's numbers by the names that services show in sections: train/loss, validation/en, alignment/step/all."""
    place = f"/{line['at']}" if "at" in line else ""
    found = {}
    for key, value in line.items():
        if isinstance(value, dict):
            found.update({f"{key}{place}/{name}": float(number) for name, number in value.items()})
        elif key not in ("step", "at"):
            found[f"train/{key}"] = float(value)
    return found


class Speed:
    """Tokens per second from one step's end to the next's, and model FLOPs utilisation where the card's peak is known.

    What lies between, validation and checkpoints, is counted in.
    """

    def __init__(self, training: Training) -> None:
        settings = training.spec["train"]
        self._tokens_per_step = settings["batch_size"] * settings["context_length"]
        self._share_per_token = share_per_token(training.flops_per_token, training.device, settings["processes"])
        self._last: float | None = None

    def after_step(self) -> dict[str, float]:
        """Nothing after the first one, which warms up."""
        now, last = time.monotonic(), self._last
        self._last = now
        if last is None or now == last:
            return {}
        tokens_per_s = self._tokens_per_step / (now - last)
        used = {"speed/mfu": tokens_per_s * self._share_per_token} if self._share_per_token else {}
        return {"speed/tokens_per_s": tokens_per_s, **used}


class TensorBoard:
    """Event files in logs/tensorboard/{lineage}; TensorBoard hides what earlier ones hold of steps still to come."""

    def __init__(self, training: Training) -> None:
        _package("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        # A training that begins anew also replaces the point before its first step.
        purged = training.start + 1 if training.start else 0
        self._writer = SummaryWriter(str(_FOLDER / "tensorboard" / training.lineage), purge_step=purged)

    def log(self, scalars: dict[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of the project "palimpsest" (WANDB_PROJECT names another), its files in logs/wandb.

    Its id is the training's fingerprint, so that a resumed training goes on in the same run: steps that this holds
    already are not sent again, as they are the same. WANDB_MODE=offline is wandb's own affair: it cannot resume there,
    each start leaves a folder for ``wandb sync``.
    """

    def __init__(self, training: Training) -> None:
        wandb = _package("wandb")
        _FOLDER.mkdir(exist_ok=True)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "palimpsest"),
                id=training.fingerprint[:32],
                name=training.lineage,
                config=training.spec,
                dir=str(_FOLDER),
                resume="allow",
            )
        except wandb.Error as error:
            raise TrainingError(
                f"train.loggers: wandb: {error}; run `wandb login`, set WANDB_MODE=offline, or take wandb out"
            ) from error
        self._first = self._run.step

    def log(self, scalars: dict[str, float], step: int) -> None:
        if step >= self._first:
            self._run.log(scalars, step=step)

    def flush(self) -> None:
        """Nothing: a process of wandb's own holds the lines, and outlives this one."""

    def close(self) -> None:
        self._run.finish()


_BACKENDS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise TrainingError(
            f"train.loggers asks for {name}, which is not installed; run `pip install {name}`, or take it out"
        ) from None
