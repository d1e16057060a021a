"""Stage scaling: results/scaling.json, the loss against model size and the increase in model size that replay is worth.

Size is measured in training FLOPs per token. docs/metrics.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.artifact import canonical_json
from palimpsest.evaluate.power_law import PowerLaw, interval
from palimpsest.evaluate.replay_exchange import exchange_rates
from palimpsest.evaluate.results.scaling_results import (
    CurvePoint,
    Measure,
    ScalingFit,
    ScalingPoint,
    ScalingResults,
    write_scaling_results,
)
from palimpsest.evaluate.results.sweep_results import SweepPointResults, SweepRun, read_sweep_results
from palimpsest.evaluate.size_series import SizeSeries, group_by_series

_CURVE_POINTS = 33
# An arm that replays, at a replay rate of 0 → the arm that it then equals.
_WITHOUT_REPLAY = {"replay": "sequential", "mer": "reptile"}


def analyse_scaling(sweep_json: Path, out: Path) -> None:
    """Write results/scaling.json from results/sweep.json; equal points in any order give equal bytes.

    Raises ArtifactError if ``sweep_json`` is missing or has the wrong format. Inconclusive data is not an error: the
    entry says so (``tells`` is false) and why.
    """
    points = _points(read_sweep_results(sweep_json).points)
    all_series = group_by_series(points)
    results = ScalingResults(
        points=tuple(points),
        fits=tuple(_fit(series, measure) for series in all_series for measure in series.laws),
        exchange=tuple(rate for series in all_series if series.rate for rate in exchange_rates(series, all_series)),
    )
    write_scaling_results(out, results)


def _points(swept: Sequence[SweepPointResults]) -> list[ScalingPoint]:
    """Every lineage once, with the values that all points of the sweep containing it share: those that affect it."""
    values: dict[str, Mapping[str, Any]] = {}
    runs: dict[str, tuple[str, int, SweepRun]] = {}
    for point, arm, seed, run in _runs(swept):
        runs.setdefault(run.lineage, (arm, seed, run))
        values[run.lineage] = _agreeing(values.get(run.lineage, point.values), point.values)
    points = [_point(arm, seed, run, values[lineage]) for lineage, (arm, seed, run) in runs.items()]
    return sorted(points, key=_order)


def _runs(swept: Sequence[SweepPointResults]) -> Iterator[tuple[SweepPointResults, str, int, SweepRun]]:
    for point in swept:
        for arm, seeds in point.runs.items():
            for seed, run in seeds.items():
                yield point, arm, int(seed), run


def _agreeing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key in other and other[key] == value}


def _point(arm: str, seed: int, run: SweepRun, values: Mapping[str, Any]) -> ScalingPoint:
    return ScalingPoint(
        arm=arm if run.rate else _WITHOUT_REPLAY.get(arm, arm),
        rate=run.rate,
        accounting=run.accounting,
        values=values,
        seed=seed,
        parameters=run.parameters,
        flops_per_token=run.flops_per_token,
        flops=run.flops,
        retained_loss=run.retained_loss,
        learned_loss=run.learned_loss,
    )


def _order(point: ScalingPoint) -> tuple[str, float, str, int, int, bytes]:
    setting = (point.arm, point.rate, point.accounting or "")
    return (*setting, point.flops_per_token, point.seed, canonical_json(point.values))


def _fit(series: SizeSeries, measure: Measure) -> ScalingFit:
    """An entry of ``fits``."""
    law = series.laws[measure]
    low, high = law.intervals()["b"] if law else (0.0, 0.0)
    tells = law is not None and not low <= 0 <= high
    unclear = f"; the 95 % interval of b, {low:.3g} to {high:.3g}, contains 0: no change with size is detected"
    return ScalingFit(
        arm=series.arm,
        rate=series.rate,
        accounting=series.accounting,
        values=series.values,
        measure=measure,
        law=law.text if law else "",
        coefficients=law.coefficients() if law else {},
        ci95=law.intervals() if law else {},
        curve=tuple(_curve(law, list(series.sizes))) if law else (),
        tells=tells,
        why=law.why + ("" if tells else unclear) if law else series.too_few_sizes,
    )


def _curve(law: PowerLaw, sizes: Sequence[int]) -> Iterator[CurvePoint]:
    """The law and its 95 % band, from the smallest to the largest size."""
    flops = np.geomspace(sizes[0], sizes[-1], _CURVE_POINTS)
    losses = np.exp(np.clip(law.log_loss(flops), -700, 700))
    for size, loss, resampled in zip(flops, losses[0], losses[1:].T, strict=True):
        low, high = interval(resampled)
        yield CurvePoint(flops_per_token=float(size), loss=float(loss), low=low, high=high)
