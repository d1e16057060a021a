"""The records of metrics.jsonl: a line for each step, each point of the validation curves, each measured alignment.

JSON has no numbers that are not finite, so those are left out: the record of a skipped step may lack its losses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palimpsest.codec import decode, encode


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """Optimiser step number ``step`` (from 1). Losses are nats per token, of new and replayed sequences apart.

    A loss is None where it is not finite, or where the batch has no such sequences.
    """

    step: int
    loss: float | None = None
    loss_new: float | None = None
    loss_replayed: float | None = None
    learning_rate: float
    gradient_norm: float | None = None
    skipped: bool = False


@dataclass(frozen=True, kw_only=True)
class ValidationRecord:
    """A point of the validation curves after ``step`` steps and ``tokens`` tokens: language → nats per token."""

    step: int
    tokens: int
    validation: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class AlignmentRecord:
    """Cosine of the gradients of new and replayed sequences and their norms, by group of weights.

    ``at``: "step", at the weights of the step's gradient; "window" and "interpolated", after the last step of a Reptile
    window, before and after the interpolation.
    """

    step: int
    at: Literal["step", "window", "interpolated"]
    alignment: Mapping[str, float]
    norm_new: Mapping[str, float]
    norm_replayed: Mapping[str, float]


MetricsRecord = StepRecord | ValidationRecord | AlignmentRecord


def encode_record(record: MetricsRecord) -> dict[str, Any]:
    """Plain JSON, without what is None, False or not finite."""
    return {key: _finite(value) for key, value in encode(record).items() if _is_shown(value)}


def read_metrics(path: Path) -> Iterator[MetricsRecord]:
    """The records of a metrics.jsonl, none where there is no file; a last line that was cut short is left out.

    Raises ArtifactError naming a key that does not belong there.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode_record(json.loads(line), str(path))


def _decode_record(value: dict[str, Any], where: str) -> MetricsRecord:
    kind: type[MetricsRecord] = StepRecord
    if "validation" in value:
        kind = ValidationRecord
    elif "alignment" in value:
        kind = AlignmentRecord
    return decode(kind, value, where)


def _finite(value: Any) -> Any:
    return {key: each for key, each in value.items() if _is_shown(each)} if isinstance(value, dict) else value


def _is_shown(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is not None and value is not False
