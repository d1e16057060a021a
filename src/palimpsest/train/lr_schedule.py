"""Learning-rate policies over the stages: pure functions of the step."""

from __future__ import annotations

import math

from palimpsest.settings.training import Train


def learning_rate(step: int, steps: int, stage: int, stages: int, settings: Train) -> float:
    """The learning rate of optimiser step ``step`` in [0, steps) of ``stage`` in [1, stages].

    ``rewarm_cosine``: linear warm-up, then a cosine down to the minimum, in every stage. ``single_cosine``: one such
    curve over all stages, each taking an equal part of it, however many steps replay adds. ``infinite`` (Ibrahim et
    al. 2024; Singh et al. 2025): one warm-up and one cosine down to the constant rate in the first stage, the constant
    rate through all stages, and a decay to the minimum at the end of the last. ``wsd`` (MiniCPM, Hu et al. 2024):
    warm-up, peak and decay in every stage.
    """
    progress = (step + 1) / steps
    match settings.schedule:
        case "rewarm_cosine":
            return _warm_cosine(progress, settings)
        case "single_cosine":
            return _warm_cosine((stage - 1 + progress) / stages, settings)
        case "infinite":
            return _infinite(progress, stage == 1, stage == stages, settings)
        case "wsd":
            return _warm_stable_decay(progress, settings)


# ``progress`` in (0, 1] is the part of a curve that ends with the step.


def _warm_cosine(progress: float, settings: Train) -> float:
    warmup = settings.warmup_fraction
    if progress < warmup:
        return _warm(progress, settings)
    return _cosine((progress - warmup) / (1 - warmup), settings.learning_rate, settings.min_learning_rate)


def _infinite(progress: float, is_first: bool, is_last: bool, settings: Train) -> float:
    warmup, cooldown, peak = settings.warmup_fraction, settings.cooldown_fraction, settings.learning_rate
    constant = settings.constant_learning_rate
    if constant is None:
        constant = 0.5 * (peak + settings.min_learning_rate)
    if is_last and progress > 1 - settings.decay_fraction:
        return _decay(progress, constant, settings)
    if is_first and progress < warmup:
        return _warm(progress, settings)
    if is_first and progress < warmup + cooldown:
        return _cosine((progress - warmup) / cooldown, peak, constant)
    return constant


def _warm_stable_decay(progress: float, settings: Train) -> float:
    if progress > 1 - settings.decay_fraction:
        return _decay(progress, settings.learning_rate, settings)
    if progress < settings.warmup_fraction:
        return _warm(progress, settings)
    return settings.learning_rate


def _warm(progress: float, settings: Train) -> float:
    return settings.learning_rate * progress / settings.warmup_fraction


def _cosine(progress: float, high: float, low: float) -> float:
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * progress))


def _decay(progress: float, start: float, settings: Train) -> float:
    """1 - √x down to the minimum: of the shapes that Hägele et al. (2024) compare, better than linear at any length.

    Also for ``infinite``, whose authors use an exponential decay, which cannot end at a minimum of 0.
    """
    floor, fraction = settings.min_learning_rate, settings.decay_fraction
    done = min(1.0, (progress - (1 - fraction)) / fraction)
    return floor + (start - floor) * (1 - math.sqrt(done))
