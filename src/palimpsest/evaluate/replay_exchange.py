"""The value of replay in model size: how much larger a model without replay must be to retain as much.

docs/metrics.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from palimpsest.evaluate.power_law import PowerLaw, interval
from palimpsest.evaluate.results.scaling_results import ExchangeRate, Interval
from palimpsest.evaluate.size_series import SizeSeries

EXTRAPOLATION = 10.0  # factor by which a law is extrapolated beyond the sizes tried
MAX_INTERVAL_RATIO = 10.0  # a wider interval of the growth (a factor) is inconclusive


@dataclass(frozen=True, kw_only=True)
class _Growth:
    growth: float | None
    ci95: Interval | None
    tells: bool
    why: str


def exchange_rates(series: SizeSeries, all_series: Sequence[SizeSeries]) -> Iterator[ExchangeRate]:
    """Per size of a series with replay: the growth at which a model without replay retains as much."""
    base = _without_replay(series, all_series)
    for flops_per_token, parameters in series.sizes.items():
        cost = _replay_cost(series, base, flops_per_token)
        growth = _growth(series, base, flops_per_token, cost)
        yield ExchangeRate(
            arm=series.arm,
            rate=series.rate,
            accounting=series.accounting,
            values=series.values,
            at_parameters=parameters,
            at_flops_per_token=flops_per_token,
            measure="retained_loss",
            growth=growth.growth,
            ci95=growth.ci95,
            replay_cost=cost,
            tells=growth.tells,
            why=growth.why,
        )


def _without_replay(series: SizeSeries, all_series: Sequence[SizeSeries]) -> SizeSeries | None:
    """The sequential series with the same settings, of those that the sweep varies for it."""
    alike = [
        other for other in all_series if other.arm == "sequential" and other.values.items() <= series.values.items()
    ]
    return max(alike, key=lambda other: len(other.values), default=None)


def _replay_cost(series: SizeSeries, base: SizeSeries | None, flops_per_token: int) -> float:
    """Training FLOPs of all stages over those without replay: unlike growth, replay costs nothing in the first stage.

    If no model of this size was trained without replay, the ratio of the later stages alone, which is an upper bound.
    """
    if base is None or flops_per_token not in base.sizes:
        return 1 / (1 - series.rate) if series.accounting == "add" else 1.0
    return series.training_flops(flops_per_token) / base.training_flops(flops_per_token)


def _growth(series: SizeSeries, base: SizeSeries | None, flops_per_token: int, cost: float) -> _Growth:
    if base is None:
        return _unknown("the sweep has no model without replay of the same settings")
    law, law_without = series.laws["retained_loss"], base.laws["retained_loss"]
    if law is None:
        return _unknown(f"with replay: {series.too_few_sizes}")
    if law_without is None:
        return _unknown(f"without replay: {base.too_few_sizes}")
    return _compare(law, law_without, flops_per_token, list(base.sizes), cost)


def _unknown(why: str) -> _Growth:
    return _Growth(growth=None, ci95=None, tells=False, why=why)


def _compare(law: PowerLaw, law_without: PowerLaw, flops_per_token: int, sizes: Sequence[int], cost: float) -> _Growth:
    """The growth at one size, and whether it is conclusive. ``sizes``: those trained without replay, ascending."""
    limits = sizes[0] / EXTRAPOLATION / flops_per_token, sizes[-1] * EXTRAPOLATION / flops_per_token
    log_loss = law.log_loss(np.array([flops_per_token]))[:, 0]
    with np.errstate(over="ignore"):
        growths = np.clip(np.exp(law_without.log_growth(log_loss, flops_per_token)), *limits)
    growth, ci95 = float(growths[0]), interval(growths[1:])
    reasons = list(_unsettled(law_without, growth, ci95, limits))
    if reasons and not ci95[0] <= cost <= ci95[1]:
        reasons.append(f"but the whole interval lies {'above' if ci95[0] > cost else 'below'} the cost of replay")
    reach = "within" if sizes[0] <= growth * flops_per_token <= sizes[-1] else "extrapolated beyond"
    return _Growth(
        growth=growth if limits[0] < growth < limits[1] else None,
        ci95=ci95,
        tells=not reasons,
        why="; ".join(reasons) or f"{reach} the sizes tried without replay",
    )


def _unsettled(law_without: PowerLaw, growth: float, ci95: Interval, limits: Interval) -> Iterator[str]:
    """The reasons why the growth is not reliable; none if it is."""
    times = f"{EXTRAPOLATION:.0f} times"
    if law_without.intervals()["b"][0] <= 0:
        yield "the loss without replay does not clearly decrease with size"
    if growth <= limits[0]:
        yield f"< {limits[0]:.3g}: without replay a model {times} smaller than any tried retains as much"
    elif growth >= limits[1]:
        yield f"> {limits[1]:.3g}: without replay even a model {times} larger than any tried retains less"
    elif ci95[0] <= limits[0] or ci95[1] >= limits[1]:
        yield f"the interval reaches {times} beyond the sizes tried, where it is cut"
    elif ci95[1] > MAX_INTERVAL_RATIO * ci95[0]:
        yield f"the interval spans more than a factor of {MAX_INTERVAL_RATIO:.0f}"
