"""Series of runs that differ only in size and seed, to which scaling laws are fitted.

A series has one arm, replay rate and accounting, and equal values of everything else that the sweep varies at one size
(ε, k, a learning rate). A setting that varies only with the size, such as a learning rate per size, counts as part of
the size.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palimpsest.artifact import canonical_json
from palimpsest.evaluate.power_law import MIN_SIZES, PowerLaw, fit_power_law
from palimpsest.evaluate.results.scaling_results import MEASURES, Measure, ScalingPoint


@dataclass(frozen=True, kw_only=True)
class SizeSeries:
    """``values``: the other swept settings, equal in all ``points``; ``laws`` are None if there are too few sizes."""

    points: Sequence[ScalingPoint]
    values: Mapping[str, Any]
    laws: Mapping[Measure, PowerLaw | None]

    @property
    def arm(self) -> str:
        return self.points[0].arm

    @property
    def rate(self) -> float:
        return self.points[0].rate

    @property
    def accounting(self) -> str | None:
        return self.points[0].accounting

    @property
    def sizes(self) -> dict[int, int]:
        """Training FLOPs per token → parameters, ascending."""
        return {point.flops_per_token: point.parameters for point in self.points}

    @property
    def too_few_sizes(self) -> str:
        """The reason why there is no law."""
        sizes = len(self.sizes)
        return f"{sizes} size{'s' * (sizes > 1)}; a law and its uncertainty need {MIN_SIZES}"

    def training_flops(self, flops_per_token: int) -> float:
        """Training FLOPs of all stages of a lineage of one size, mean over seeds."""
        return statistics.fmean(point.flops for point in self.points if point.flops_per_token == flops_per_token)


def group_by_series(points: Sequence[ScalingPoint]) -> list[SizeSeries]:
    """The series of sorted points, in the order of the points."""
    families = defaultdict(list)
    for point in points:
        families[point.arm, point.rate, point.accounting].append(point)
    return [series for family in families.values() for series in _split(family)]


def _split(family: Sequence[ScalingPoint]) -> Iterator[SizeSeries]:
    """Split the points of one arm, rate and accounting by the keys whose values vary at one size."""
    values_at_size = defaultdict(list)
    for point in family:
        values_at_size[point.flops_per_token].append(point.values)
    keys = sorted({key for point in family for key in point.values})
    varied = [
        key for key in keys if any(len({_sort_key(of, key) for of in same}) > 1 for same in values_at_size.values())
    ]
    groups = defaultdict(list)
    for point in family:
        groups[tuple(_sort_key(point.values, key) for key in varied)].append(point)
    for _, members in sorted(groups.items()):
        yield SizeSeries(
            points=members,
            values={key: members[0].values[key] for key in varied if key in members[0].values},
            laws={measure: _law(members, measure) for measure in MEASURES if members[0].loss(measure) is not None},
        )


def _sort_key(values: Mapping[str, Any], key: str) -> bytes:
    """A comparable form of a value; a key that a point does not set sorts first."""
    return canonical_json(values[key]) if key in values else b""


def _law(points: Sequence[ScalingPoint], measure: Measure) -> PowerLaw | None:
    if len({point.flops_per_token for point in points}) < MIN_SIZES:
        return None
    losses = [(point.flops_per_token, point.seed, point.loss(measure)) for point in points]
    return fit_power_law([(flops, seed, loss) for flops, seed, loss in losses if loss is not None])
