"""Learning-rate policies over the stages: pure functions of the step."""

from __future__ import annotations

import math
from typing import Any


def learning_rate(step: int, steps: int, stage: int, stages: int, train: dict[str, Any]) -> float:
    """The rate of optimiser step ``step`` in [0, steps) of ``stage`` in [1, stages].

    ``rewarm_cosine``: linear warm-up, then a cosine down to the minimum, in every stage. ``single_cosine``: one such
    curve over all stages, each taking an equal part of it, however many steps replay adds.
    """
    if train["schedule"] == "rewarm_cosine":
        return _warm_cosine((step + 1) / steps, train)
    return _warm_cosine((stage - 1 + (step + 1) / steps) / stages, train)


def _warm_cosine(progress: float, train: dict[str, Any]) -> float:
    """``progress`` in (0, 1] is the share of the curve that ends with this step."""
    peak, floor, warmup = train["learning_rate"], train["min_learning_rate"], train["warmup_fraction"]
    if progress < warmup:
        return float(peak * progress / warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
    return float(floor + (peak - floor) * cosine)
