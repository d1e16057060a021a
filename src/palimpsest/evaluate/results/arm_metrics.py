"""results/metrics.json: the headline numbers of every arm, rounded, for ``dvc metrics``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from palimpsest.artifact import read_json, write_json
from palimpsest.codec import decode, encode
from palimpsest.evaluate.results.eval_all import ArmSummary, PerLanguage

_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class ArmMetrics:
    """One arm, means over seeds. Joint has no ``learned_loss``; ``tasks`` is None if none were run."""

    loss: Mapping[str, float]
    forgetting: Mapping[str, float]
    retained_loss: float
    tokens: int
    flops: int
    learned_loss: float | None = None
    tasks: Mapping[str, float] | None = None


def arm_metrics(arm: ArmSummary) -> ArmMetrics:
    """The headline numbers of an arm."""
    return ArmMetrics(
        loss=_rounded(arm.final_loss),
        forgetting=_rounded(arm.forgetting),
        retained_loss=round(arm.retained_loss.mean, _DIGITS),
        tokens=arm.tokens.total,
        flops=arm.flops,
        learned_loss=round(arm.learned_loss.mean, _DIGITS) if arm.learned_loss else None,
        tasks=_rounded(arm.final_tasks) if arm.tasks else None,
    )


def write_arm_metrics(path: Path, metrics: Mapping[str, ArmMetrics]) -> None:
    """Write metrics.json, without nulls, which ``dvc metrics`` cannot use."""
    write_json(
        path,
        {
            arm: {key: value for key, value in encode(each).items() if value is not None}
            for arm, each in metrics.items()
        },
    )


def read_arm_metrics(path: Path) -> dict[str, ArmMetrics]:
    """Read metrics.json; raises ArtifactError naming the key that is wrong."""
    return decode(dict[str, ArmMetrics], read_json(path), str(path))


def _rounded(values: PerLanguage) -> dict[str, float]:
    return {name: round(value.mean, _DIGITS) for name, value in values.items()}
