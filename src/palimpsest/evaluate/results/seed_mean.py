"""A mean over seeds with its spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SeedMean:
    """Mean, standard deviation (None for one seed) and the number of seeds."""

    mean: float
    sd: float | None
    n: int


def seed_mean(values: Sequence[float]) -> SeedMean:
    """The mean of at least one value; ``sd`` is the sample standard deviation, over n − 1."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return SeedMean(mean=statistics.fmean(values), sd=spread, n=len(values))
