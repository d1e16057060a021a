"""TensorBoard and Weights & Biases: the records of metrics.jsonl are sent there too, with the speed, which it lacks.

metrics.jsonl stays the source of truth: nothing is read back from these services, and a run ends alike with and
without them. Their packages are imported when they are requested.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from palimpsest.codec import fingerprint_fields
from palimpsest.errors import TrainingError
from palimpsest.specs.training import TrainSpec
from palimpsest.train.metrics import AlignmentRecord, MetricsRecord, StepRecord, ValidationRecord, encode_record
from palimpsest.train.throughput import Throughput

_FOLDER = Path("logs")


@dataclass(frozen=True, kw_only=True)
class LoggedTraining:
    """A stage that writes to ``out`` and continues after ``start`` steps; its ``fingerprint`` is unique."""

    spec: TrainSpec
    out: Path
    fingerprint: str
    start: int
    throughput: Throughput

    @property
    def lineage(self) -> str:
        """The path of ``out`` below the project's runs/; elsewhere its name."""
        runs, out = Path("runs").resolve(), self.out.resolve()
        return out.relative_to(runs).as_posix() if out.is_relative_to(runs) else out.name


class Logger(Protocol):
    """A service that stores numbers by name and step."""

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Send the numbers of a step."""

    def flush(self) -> None:
        """Hand over what is buffered."""

    def close(self) -> None:
        """Finish."""


class Loggers:
    """Sends records to the loggers in ``names``, in the first process only.

    Raises TrainingError, naming train.loggers, where a package is not installed or a service refuses.
    """

    def __init__(self, names: Sequence[str], training: LoggedTraining) -> None:
        self._loggers: list[Logger] = [_LOGGERS[name](training) for name in names]
        self._speed = StepSpeed(training.throughput)

    def write(self, record: MetricsRecord) -> None:
        """Send a record, and the speed with each step."""
        if not self._loggers:
            return
        speed = self._speed.after_step() if isinstance(record, StepRecord) else {}
        for logger in self._loggers:
            logger.log(scalars(record) | speed, record.step)

    def sync(self) -> None:
        """Hand over what is buffered; called before the checkpoint from which a run would resume."""
        for logger in self._loggers:
            logger.flush()

    def close(self) -> None:
        """Finish."""
        for logger in self._loggers:
            logger.close()


def scalars(record: MetricsRecord) -> dict[str, float]:
    """A record's numbers, by names that services show in sections: train/loss, validation/en, alignment/step/all."""
    match record:
        case ValidationRecord():
            numbers = {f"validation/{language}": loss for language, loss in record.validation.items()}
            return numbers | {"train/tokens": float(record.tokens)}
        case AlignmentRecord():
            kinds = {
                "alignment": record.alignment, "norm_new": record.norm_new, "norm_replayed": record.norm_replayed,
            }  # fmt: skip
            return {
                f"{kind}/{record.at}/{name}": value for kind, values in kinds.items() for name, value in values.items()
            }
    return {f"train/{name}": float(value) for name, value in encode_record(record).items() if name != "step"}


class StepSpeed:
    """Tokens per second from one step's end to the next's, and model FLOPs utilisation where the peak is known.

    Validation and checkpoints between two steps count too.
    """

    def __init__(self, throughput: Throughput) -> None:
        self._throughput = throughput
        self._last: float | None = None

    def after_step(self) -> dict[str, float]:
        """The speed of a step; nothing after the first one, which warms up."""
        now, last = time.monotonic(), self._last
        self._last = now
        if last is None or now == last:
            return {}
        tokens_per_s = self._throughput.tokens_per_step / (now - last)
        mfu = self._throughput.mfu(tokens_per_s)
        return {"speed/tokens_per_s": tokens_per_s} | ({} if mfu is None else {"speed/mfu": mfu})


class TensorBoard:
    """Event files in logs/tensorboard/{lineage}; TensorBoard hides what earlier ones hold of steps yet to come."""

    def __init__(self, training: LoggedTraining) -> None:
        _package("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        # A training from scratch also replaces the point before its first step.
        purged = training.start + 1 if training.start else 0
        self._writer = SummaryWriter(str(_FOLDER / "tensorboard" / training.lineage), purge_step=purged)

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Write the numbers of a step."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write what is buffered."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WeightsAndBiases:
    """A run of the project "palimpsest" (WANDB_PROJECT sets another), with its files in logs/wandb.

    Its id is the fingerprint of the training, so that a resumed one continues the same run: steps that the run already
    has are not sent again, as they are the same. With WANDB_MODE=offline wandb cannot resume: each start leaves a
    folder for ``wandb sync``.
    """

    def __init__(self, training: LoggedTraining) -> None:
        wandb = _package("wandb")
        _FOLDER.mkdir(exist_ok=True)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "palimpsest"),
                id=training.fingerprint[:32],
                name=training.lineage,
                config=fingerprint_fields(training.spec),
                dir=str(_FOLDER),
                resume="allow",
            )
        except wandb.Error as error:
            raise TrainingError(
                f"train.loggers: wandb: {error}; run `wandb login`, set WANDB_MODE=offline, or remove wandb"
            ) from error
        self._first = self._run.step

    def log(self, scalars: dict[str, float], step: int) -> None:
        """Send the numbers of a step, unless the run has them."""
        if step >= self._first:
            self._run.log(scalars, step=step)

    def flush(self) -> None:
        """Nothing: a process of wandb's own holds the records, and outlives this one."""

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


_LOGGERS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise TrainingError(
            f"train.loggers requests {name}, which is not installed; run `pip install {name}`, or remove it"
        ) from None
