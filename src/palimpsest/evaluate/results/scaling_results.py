"""results/scaling.json: models of several sizes with and without replay, the laws fitted to them, and exchange rates.

docs/metrics.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palimpsest.artifact import write_json
from palimpsest.codec import encode
from palimpsest.evaluate.results.results_file import read_results_file

Interval = tuple[float, float]
Measure = Literal["retained_loss", "learned_loss"]
MEASURES: tuple[Measure, ...] = ("retained_loss", "learned_loss")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What runs of one series have in common. ``values``: other keys that the sweep varies at one size."""

    arm: str
    rate: float
    accounting: str | None
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScalingPoint(Setting):
    """One lineage of the sweep; losses in nats per token, ``flops`` of all stages, ``flops_per_token`` of training.

    Here ``values`` are all swept keys that affect the lineage, its size included.
    """

    seed: int
    parameters: int
    flops_per_token: int
    flops: int
    retained_loss: float
    learned_loss: float | None

    def loss(self, measure: Measure) -> float | None:
        return self.retained_loss if measure == "retained_loss" else self.learned_loss


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A point of a fitted curve with its 95 % bootstrap band."""

    flops_per_token: float
    loss: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ScalingFit(Setting):
    """A law fitted to one setting and measure; ``law`` is "" if there are too few sizes.

    ``curve`` runs from the smallest to the largest size. ``tells`` is false if the data are inconclusive; ``why`` says
    why, or how the law was chosen.
    """

    measure: Measure
    law: str
    coefficients: Mapping[str, float]
    ci95: Mapping[str, Interval]
    curve: tuple[CurvePoint, ...]
    tells: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class ExchangeRate(Setting):
    """How many times larger (FLOPs per token) a model without replay must be to retain as much as this one.

    ``growth`` is None if it is unknown or beyond the range of extrapolation. ``replay_cost``: training FLOPs of
    all stages over those without replay at that size.
    """

    at_parameters: int
    at_flops_per_token: int
    measure: Measure
    growth: float | None
    ci95: Interval | None
    replay_cost: float
    tells: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class ScalingResults:
    """The contents of scaling.json."""

    points: tuple[ScalingPoint, ...]
    fits: tuple[ScalingFit, ...]
    exchange: tuple[ExchangeRate, ...]
    format: Literal["palimpsest.scaling/1"] = "palimpsest.scaling/1"

    @property
    def arms(self) -> list[str]:
        """The arms in order of appearance."""
        return list(dict.fromkeys([point.arm for point in self.points] + [fit.arm for fit in self.fits]))

    def varied_values(self, setting: Setting) -> Mapping[str, Any]:
        """The values that distinguish a setting from others at one size; those of a point are those of its fit."""
        if not isinstance(setting, ScalingPoint):
            return setting.values
        found = [
            fit.values
            for fit in self.fits
            if (fit.arm, fit.rate, fit.accounting) == (setting.arm, setting.rate, setting.accounting)
            and all(setting.values.get(key) == value for key, value in fit.values.items())
        ]
        return max(found, key=len, default={})


def write_scaling_results(path: Path, results: ScalingResults) -> None:
    """Write scaling.json atomically."""
    write_json(path, encode(results))


def read_scaling_results(path: Path) -> ScalingResults:
    """Read scaling.json; raises ArtifactError naming the file and the key that is wrong."""
    return read_results_file(ScalingResults, path, "run the scaling analysis again")
