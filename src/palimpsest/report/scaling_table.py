"""The scaling analysis as tables: what growth would retain as much as replay does, and the laws behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from palimpsest.artifact import canonical_json
from palimpsest.evaluate.results.scaling_results import ExchangeRate, ScalingFit, ScalingPoint, ScalingResults, Setting
from palimpsest.evaluate.results.seed_mean import SeedMean, seed_mean
from palimpsest.report import formatting
from palimpsest.report.palette import Style
from palimpsest.report.tables import Body, Cell, Table, cells

_MEASURES = {"retained_loss": "retained", "learned_loss": "learned"}
_SYMBOLS = {"mer.step_size": "ε", "mer.interval": "k"}


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """The lineages of a sweep that differ only in their seed; ``name`` is that of their setting."""

    arm: str
    name: str
    parameters: int
    flops: float
    retained: SeedMean
    learned: SeedMean | None


def setting_name(scaling: ScalingResults, of: Setting) -> str:
    """The arm, its rate, and what else tells a setting from others of this sweep."""
    several = len({point.accounting for point in scaling.points if point.accounting}) > 1
    values = scaling.varied_values(of).items()
    said = [f"{_SYMBOLS.get(key, key.rpartition('.')[2])} {value}" for key, value in values]
    accounting = [of.accounting] if several and of.accounting else []
    return ", ".join([formatting.series(of.arm, of.rate), *accounting, *said])


def seed_groups(scaling: ScalingResults) -> list[SeedGroup]:
    """The points with their seeds together, in order of arm, rate and size."""
    groups: dict[tuple[Any, ...], list[ScalingPoint]] = {}
    for point in scaling.points:
        key = (point.rate, point.accounting or "", point.parameters, canonical_json(point.values))
        groups.setdefault((scaling.arms.index(point.arm), *key), []).append(point)
    return [_seed_group(scaling, groups[key]) for key in sorted(groups)]


def _seed_group(scaling: ScalingResults, points: list[ScalingPoint]) -> SeedGroup:
    learned = [point.learned_loss for point in points if point.learned_loss is not None]
    return SeedGroup(
        arm=points[0].arm,
        name=setting_name(scaling, points[0]),
        parameters=points[0].parameters,
        flops=fmean(point.flops for point in points),
        retained=seed_mean([point.retained_loss for point in points]),
        learned=seed_mean(learned) if learned else None,
    )


def exchange(scaling: ScalingResults, styles: Mapping[str, Style]) -> Table:
    """A row for each model with replay, in the order of scaling.json."""
    heads = "Replay", "Parameters", "Worth a growth of", "95 % interval", "Replay costs", "Conclusion"
    return Table(heads=cells(*heads), bodies=[_exchange(scaling, entry, styles) for entry in scaling.exchange])


def _exchange(scaling: ScalingResults, entry: ExchangeRate, styles: Mapping[str, Style]) -> Body:
    row = cells(
        formatting.compact(entry.at_parameters),
        formatting.NONE if entry.growth is None else f"{formatting.short(entry.growth)}×",
        "–".join(map(formatting.short, entry.ci95)) if entry.ci95 else formatting.NONE,
        formatting.times(entry.replay_cost),
    )
    reading = " ".join(formatting.sentence(part) for part in (verdict(entry), entry.why) if part)
    row.append(Cell(text=reading, kind="said"))
    return Body(name=setting_name(scaling, entry), style=styles[entry.arm], muted=not entry.tells, rows=[row])


def verdict(entry: ExchangeRate) -> str:
    """Which is the cheaper at equal retained loss, where the interval leaves the cost of replay to one side."""
    if not entry.tells:
        return "The data do not settle it"
    if entry.ci95 is None:
        return ""
    low, high = entry.ci95
    if low > entry.replay_cost:
        return "Replay costs less than the larger model that retains as much"
    if high < entry.replay_cost:
        return "A larger model retains as much at lower cost than replay"
    return "Neither is clearly cheaper: the interval contains the cost of replay"


def fits(scaling: ScalingResults, styles: Mapping[str, Style]) -> Table:
    """A row for each fitted law, in the order of scaling.json."""
    heads = "Runs", "Loss", "Law", "Coefficients (95 %)", "Reliability"
    return Table(heads=cells(*heads), texts=5, bodies=[_fit(scaling, fit, styles) for fit in scaling.fits])


def _fit(scaling: ScalingResults, fit: ScalingFit, styles: Mapping[str, Style]) -> Body:
    row = [
        Cell(text=_MEASURES[fit.measure]),
        Cell(text=fit.law or formatting.NONE, kind="law"),
        Cell(text="\n".join(_coefficient(fit, name) for name in fit.coefficients), kind="lines"),
        Cell(text=formatting.sentence(fit.why) if fit.why else formatting.NONE, kind="said"),
    ]
    return Body(name=setting_name(scaling, fit), style=styles[fit.arm], muted=not fit.tells, rows=[row])


def _coefficient(fit: ScalingFit, name: str) -> str:
    interval = fit.ci95.get(name)
    span = f" ({' to '.join(formatting.short(bound) for bound in interval)})" if interval else ""
    return f"{name} = {formatting.short(fit.coefficients[name])}{span}"
