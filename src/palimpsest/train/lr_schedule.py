"""Learning-rate policies over the stages: pure functions of the step."""

from __future__ import annotations

import math
from typing import Any


def learning_rate(step: int, steps: int, stage: int, stages: int, train: dict[str, Any]) -> float:
    """The rate of optimiser step ``step`` in [0, steps) of ``stage`` in [1, stages].

    ``rewarm_cosine``: linear warm-up, then a cosine down to the minimum, in every stage. ``single_cosine``: one such
    curve over all stages, each taking an equal part of it, however many steps replay adds. ``infinite`` (Ibrahim et
    al. 2024; Singh et al. 2025): one warm-up and one cosine down to the constant rate in the first stage, the constant
    rate through all stages, and a decay to the minimum at the end of the last. ``wsd`` (MiniCPM, Hu et al. 2024):
    warm-up, peak and decay in every stage.
    """
    progress = (step + 1) / steps
    match train["schedule"]:
        case "rewarm_cosine":
            return _warm_cosine(progress, train)
        case "single_cosine":
            return _warm_cosine((stage - 1 + progress) / stages, train)
        case "infinite":
            return _infinite(progress, stage == 1, stage == stages, train)
        case "wsd":
            return _warm_stable_decay(progress, train)
    raise ValueError(f"train.schedule: {train['schedule']!r} is not a policy")


# ``progress`` in (0, 1] is the share of a curve that ends with the step.


def _warm_cosine(progress: float, train: dict[str, Any]) -> float:
    warmup = train["warmup_fraction"]
    if progress < warmup:
        return _warm(progress, train)
    return _cosine((progress - warmup) / (1 - warmup), train["learning_rate"], train["min_learning_rate"])


def _infinite(progress: float, first: bool, last: bool, train: dict[str, Any]) -> float:
    warmup, cooldown, peak = train["warmup_fraction"], train["cooldown_fraction"], train["learning_rate"]
    constant = train["constant_learning_rate"]
    if constant is None:
        constant = 0.5 * (peak + train["min_learning_rate"])
    if last and progress > 1 - train["decay_fraction"]:
        return _decay(progress, constant, train)
    if first and progress < warmup:
        return _warm(progress, train)
    if first and progress < warmup + cooldown:
        return _cosine((progress - warmup) / cooldown, peak, constant)
    return float(constant)


def _warm_stable_decay(progress: float, train: dict[str, Any]) -> float:
    if progress > 1 - train["decay_fraction"]:
        return _decay(progress, train["learning_rate"], train)
    if progress < train["warmup_fraction"]:
        return _warm(progress, train)
    return float(train["learning_rate"])


def _warm(progress: float, train: dict[str, Any]) -> float:
    return float(train["learning_rate"] * progress / train["warmup_fraction"])


def _cosine(share: float, above: float, below: float) -> float:
    return float(below + (above - below) * 0.5 * (1 + math.cos(math.pi * share)))


def _decay(progress: float, above: float, train: dict[str, Any]) -> float:
    """1 - √x down to the minimum: of the shapes that Hägele et al. (2024) compare, better than linear at any length.

    Also for ``infinite``, whose authors let it fall exponentially, which cannot end at a minimum of 0.
    """
    floor, share = train["min_learning_rate"], train["decay_fraction"]
    done = min(1.0, (progress - (1 - share)) / share)
    return float(floor + (above - floor) * (1 - math.sqrt(done)))
