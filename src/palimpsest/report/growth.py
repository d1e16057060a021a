"""The scaling analysis as rows of text: what growth would retain as much as replay does, and the laws behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from palimpsest.report import figures
from palimpsest.report.palette import Style
from palimpsest.report.scaling import Exchange, Fit, Scaling

_MEASURES = {"retained_loss": "retained", "learned_loss": "learned"}


@dataclass(frozen=True, kw_only=True)
class ExchangeRow:
    """One model with replay, and the growth of a model without it that retains as much."""

    style: Style
    name: str
    parameters: str
    growth: str
    interval: str
    cost: str
    reading: str
    tells: bool


@dataclass(frozen=True, kw_only=True)
class FitRow:
    """A fitted law: its coefficients with their intervals, and what it cannot tell."""

    style: Style
    name: str
    measure: str
    law: str
    coefficients: list[str]
    why: str
    tells: bool


def exchange(found: Scaling, styles: Mapping[str, Style]) -> list[ExchangeRow]:
    """A row for each model with replay, in the order of scaling.json."""
    return [
        ExchangeRow(
            style=styles[entry.arm],
            name=found.name(entry),
            parameters=figures.compact(entry.parameters),
            growth=figures.NONE if entry.growth is None else f"{figures.short(entry.growth)}×",
            interval="–".join(map(figures.short, entry.interval)) if entry.interval else figures.NONE,
            cost=figures.times(entry.replay_cost),
            reading=" ".join(_sentence(part) for part in (_verdict(entry), entry.why) if part),
            tells=entry.tells,
        )
        for entry in found.exchange
    ]


def _verdict(entry: Exchange) -> str:
    """Which is the cheaper at equal retained loss, where the interval leaves the cost of replay to one side."""
    if not entry.tells:
        return "The data cannot tell"
    if entry.interval is None:
        return ""
    low, high = entry.interval
    if low > entry.replay_cost:
        return "Replay costs less than the growth that does as much"
    if high < entry.replay_cost:
        return "Growth does as much for less than replay"
    return "Neither is cheaper beyond doubt: the interval holds the cost of replay"


def fits(found: Scaling, styles: Mapping[str, Style]) -> list[FitRow]:
    """A row for each fitted law, in the order of scaling.json."""
    return [
        FitRow(
            style=styles[fit.arm],
            name=found.name(fit),
            measure=_MEASURES[fit.measure],
            law=fit.law,
            coefficients=[_coefficient(fit, name) for name in fit.coefficients],
            why=_sentence(fit.why) if fit.why else "",
            tells=fit.tells,
        )
        for fit in found.fits
    ]


def _sentence(said: str) -> str:
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


def _coefficient(fit: Fit, name: str) -> str:
    interval = fit.intervals.get(name)
    span = f" ({' to '.join(figures.short(bound) for bound in interval)})" if interval else ""
    return f"{name} = {figures.short(fit.coefficients[name])}{span}"
