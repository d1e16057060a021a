"""Whether the seeds can tell two arms apart: the paired differences between runs of one seed, and their interval."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from scipy.special import stdtrit

from palimpsest.evaluate import continual_metrics as metrics
from palimpsest.evaluate.results.eval_all import REFERENCE_ARM, EvalAll

PerSeed = Mapping[str, float]
Interval = tuple[float, float]


def paired_interval(differences: list[float]) -> Interval | None:
    """The 95 % interval of the mean difference by Student's t; None for one seed, which has no spread."""
    if len(differences) < 2:
        return None
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    half = float(stdtrit(len(differences) - 1, 0.975)) * spread / len(differences) ** 0.5
    return mean - half, mean + half


def clearly_lowest(values: Mapping[str, PerSeed]) -> str | None:
    """The arm whose values, by seed, lie below every other arm's beyond their paired interval; None where none does."""
    if len(values) < 2:
        return None
    lowest = min(values, key=lambda arm: statistics.fmean(values[arm].values()))
    return lowest if all(_is_below(values[lowest], values[arm]) for arm in values if arm != lowest) else None


def _is_below(one: PerSeed, other: PerSeed) -> bool:
    interval = paired_interval([one[seed] - other[seed] for seed in one if seed in other])
    return interval is not None and interval[1] < 0


def losses_by_seed(results: EvalAll) -> dict[str, dict[str, dict[str, float]]]:
    """Column of the headline table → compared arm → seed → value.

    Columns are ``loss LANGUAGE``, ``forgetting LANGUAGE``, ``retained`` and ``learned``.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, arm in results.arms.items():
        for seed, chain in arm.lineages.items() if name != REFERENCE_ARM else ():
            matrix = {
                run.stage: {language: loss.nats_per_token for language, loss in run.loss.items()}
                for run in (results.runs[path] for path in chain)
            }
            values = {f"loss {language}": loss for language, loss in matrix[arm.stages[-1]].items()}
            values |= {f"forgetting {language}": loss for language, loss in metrics.forgetting(matrix).items()}
            values |= {"retained": metrics.retained_loss(matrix), "learned": metrics.learned_loss(matrix)}
            for column, value in values.items():
                found.setdefault(column, {}).setdefault(name, {})[seed] = value
    return found
