"""The loss matrix of an arm as a heat map: a row after each stage, a column for each language, the number in each cell.

Like ink on a page: the lower the loss, the darker the cell. One logarithmic colour scale serves all arms, since losses
before any training are several times those after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.charts.svg import Scale, chart, element, line, rectangle, text
from palimpsest.report.results import Arm, Matrix, Quantity

_LABEL, _HEAD, _CELL_WIDTH, _CELL_HEIGHT = 66.0, 22.0, 54.0, 34.0
_ON_INK_FROM = 0.53  # share of ink from which the other text colour reads better, on light pages and dark ones


def colour_scale(matrices: Iterable[Matrix]) -> Scale:
    """Lowest loss → 1 (full ink), highest → 0, over all arms."""
    losses = [value.mean for matrix in matrices for row in matrix.values() for value in row.values()] or [1.0, 2.0]
    return Scale(low=min(losses), high=max(losses), start=1, end=0, log=min(losses) > 0)


Intervals = Mapping[tuple[str, str], tuple[float, float]]  # by stage and language


def draw(arm: Arm, matrix: Matrix, languages: Sequence[str], ink: Scale, unit: str, intervals: Intervals) -> Markup:
    """One arm's heat map: hatched where training has not reached a language, outlined at the stage's own.

    ``intervals`` are said where the pointer is, of losses that have them.
    """
    rows = [stage for stage in arm.stages if stage in matrix]
    height = _HEAD + len(rows) * _CELL_HEIGHT + 2
    heads = [
        text(figures.shorten(name, 7), _LABEL + (index + 0.5) * _CELL_WIDTH, _HEAD - 8, class_="tick middle")
        for index, name in enumerate(languages)
    ]
    cells = [
        _row(arm, matrix, languages, ink, unit, intervals, stage, _HEAD + index * _CELL_HEIGHT)
        for index, stage in enumerate(rows)
    ]
    return chart(width(languages), height, f"Loss matrix of {arm.name} in {unit}", *heads, *cells)


def width(languages: Sequence[str]) -> float:
    return _LABEL + len(languages) * _CELL_WIDTH + 2


def legend(ink: Scale, unit: str) -> Markup:
    """The colour scale with a few of its values."""
    length, steps = 240.0, 48
    bar = [
        rectangle(
            8 + index * length / steps,
            4,
            length / steps + 0.5,
            10,
            class_="cell",
            style=f"--ink:{index / (steps - 1):.3f}",
        )
        for index in range(steps)
    ]
    places = Scale(low=ink.low, high=ink.high, start=8 + length, end=8, log=ink.log)
    ticks = [
        line(places(tick), 14, places(tick), 18, class_="boundary")
        + text(f"{tick:g}", places(tick), 30, class_="tick middle")
        for tick in places.ticks(4)
    ]
    return chart(length + 16, 34, f"Colour scale, {unit}", *bar, *ticks)


def _row(
    arm: Arm,
    matrix: Matrix,
    languages: Sequence[str],
    ink: Scale,
    unit: str,
    intervals: Intervals,
    stage: str,
    y: float,
) -> Markup:
    name = "untrained" if stage == "init" else f"after {stage}"
    label = text(figures.shorten(name, 11), _LABEL - 8, y + _CELL_HEIGHT / 2 + 4, class_="tick end")
    cells = []
    for index, language in enumerate(languages):
        if value := matrix[stage].get(language):
            x = _LABEL + index * _CELL_WIDTH
            said = _value(value, unit) + _interval(intervals.get((stage, language)))
            cells.append(
                _cell(
                    value,
                    ink.share(value.mean),
                    x,
                    y,
                    _reached(stage, language, languages),
                    f"{arm.name}, {name}: {said} on {figures.language(language)}",
                )
            )
    return element("g", label, *cells)


def _cell(value: Quantity, share: float, x: float, y: float, reached: str, tip: str) -> Markup:
    """``share`` runs from the lowest loss (0) to the highest (1); ink is the rest."""
    ink = 1 - min(max(share, 0), 1)
    box = (x + 1, y + 1, _CELL_WIDTH - 2, _CELL_HEIGHT - 2)
    tone = "number on-ink" if ink >= _ON_INK_FROM else "number"
    parts = [rectangle(*box, class_="cell", style=f"--ink:{ink:.3f}")]
    if reached == "later":
        parts.append(rectangle(*box, class_="hatched"))
    if reached == "now":
        parts.append(rectangle(x + 2, y + 2, _CELL_WIDTH - 4, _CELL_HEIGHT - 4, class_="own-cell"))
    number = text(
        f"{value.mean:.2f}", x + _CELL_WIDTH / 2, y + _CELL_HEIGHT / 2 + 4.5, class_=f"{tone} middle {reached}"
    )
    return element("g", *parts, number, data_tip=tip)


def _reached(stage: str, language: str, languages: Sequence[str]) -> str:
    """Whether training has met the language by the end of the stage: "later", "now" or "before"."""
    if stage == "init":
        return "later"
    if stage not in languages:  # joint: every language at once
        return "now"
    here, there = languages.index(stage), languages.index(language)
    return "later" if there > here else "now" if there == here else "before"


def _value(value: Quantity, unit: str) -> str:
    seeds = f" {figures.spread(value)} ({value.n} seeds)" if value.sd is not None else ""
    return f"{figures.loss(value.mean)}{seeds} {unit}"


def _interval(interval: tuple[float, float] | None) -> str:
    return f" (95 % over documents: {figures.interval(*interval)})" if interval else ""
