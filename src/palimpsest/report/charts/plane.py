"""Stability against plasticity: what each arm retains at the end over what it learned on the way, compute as colour.

Both axes are losses, so the good corner is below on the left. An arm on the diagonal kept all it had learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.charts.labels import Free
from palimpsest.report.charts.marks import mark
from palimpsest.report.charts.svg import Scale, chart, element, line, polyline, rectangle, text
from palimpsest.report.palette import Style
from palimpsest.report.results import Quantity, Results
from palimpsest.report.scaling import Scaling

_WIDTH, _HEIGHT = 680.0, 500.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 640.0, 18.0, 426.0
_LOG_FROM = 4.0  # largest compute over smallest from which the colours count in ratios
_MARK, _SMALL = 8.0, 5.0
_END = 32.0  # of the legend, for the half of a number that sticks out


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A mark: losses in nats per token, training FLOPs of one seed; ``small`` for a point of the sweep."""

    name: str
    style: Style
    learned: Quantity
    retained: Quantity
    flops: float
    parameters: int | None = None
    small: bool = False


Reference = tuple[Style, Quantity]  # the arm that has no stages, and its retained loss


def spots(results: Results, scaling: Scaling | None, styles: Mapping[str, Style]) -> list[Spot]:
    """The arms that learned one language after another, and before them, so below them, the points of the sweep."""
    swept = [
        Spot(
            name=point.name,
            style=styles[point.arm],
            learned=point.learned,
            retained=point.retained,
            flops=point.flops,
            parameters=point.parameters,
            small=True,
        )
        for point in (scaling.seeds if scaling else [])
        if point.learned
    ]
    return swept + [
        Spot(name=arm.name, style=styles[arm.name], learned=arm.learned, retained=arm.retained, flops=arm.ledger.flops)
        for arm in results.arms
        if arm.learned and arm.retained and arm.ledger
    ]


def axes(found: Iterable[Spot], reference: Reference | None) -> tuple[Scale, Scale]:
    """Across and up; up begins where the diagonal does, so that the distance to it is what was lost since."""
    shown = list(found)
    learned = [bound for spot in shown for bound in _bounds(spot.learned)]
    retained = [bound for spot in shown for bound in _bounds(spot.retained)]
    retained += [reference[1].mean] if reference else []
    across = _padded(min(learned), max(learned), _LEFT, _RIGHT)
    return across, _padded(min(*retained, *learned), max(retained), _BOTTOM, _TOP)


def compute_scale(found: Iterable[Spot]) -> Scale:
    """Training FLOPs → share of the way from the colour of little compute (0) to that of much (1)."""
    flops = [spot.flops for spot in found]
    low, high = min(flops), max(flops)
    return Scale(low=low, high=high, start=0, end=1, log=low > 0 and high / low >= _LOG_FROM)


def draw(found: Sequence[Spot], reference: Reference | None) -> Markup:
    """The plane; ``reference`` is a line, since joint learns all languages at once."""
    (across, up), compute = axes(found, reference), compute_scale(found)
    free = _free(found, across, up)
    # The large marks' names take their places first: they are what the figure is about.
    names = [_name(spot, across, up, free) for spot in found if not spot.small]
    lines = [_diagonal(across, up, free), _joint(reference, up, free)]
    names += [_name(spot, across, up, free) for spot in found if _ends_series(spot, found)]
    said = figures.listing(
        [f"{spot.name} {figures.loss(spot.learned.mean)} and {figures.loss(spot.retained.mean)}" for spot in found]
    )
    return chart(
        _WIDTH,
        _HEIGHT,
        f"Learned and retained loss: {said}",
        _grid(across, up),
        *lines,
        *(_trail(series, across, up) for series in _series(found)),
        *(_spot(spot, across, up, compute) for spot in found),
        *names,
    )


def legend(found: Sequence[Spot]) -> Markup:
    """The colours with a few values of compute."""
    compute, length, steps = compute_scale(found), 240.0, 48
    bar = [
        rectangle(
            _END + index * length / steps,
            4,
            length / steps + 0.5,
            10,
            class_="compute",
            style=f"--share:{index / (steps - 1):.3f}",
        )
        for index in range(steps)
    ]
    places = Scale(low=compute.low, high=compute.high, start=_END, end=_END + length, log=compute.log)
    ends = sorted({compute.low, compute.high})
    ticks = [
        line(places(flops), 14, places(flops), 18, class_="boundary")
        + text(figures.scientific(flops), places(flops), 30, class_="tick middle")
        for flops in ends
    ]
    return chart(length + 2 * _END, 34, "Colour scale, training FLOPs", *bar, *ticks)


def _bounds(quantity: Quantity) -> tuple[float, float]:
    sd = quantity.sd or 0.0
    return quantity.mean - sd, quantity.mean + sd


def _padded(low: float, high: float, start: float, end: float) -> Scale:
    pad = (high - low) * 0.07 or 0.1
    return Scale(low=low - pad, high=high + pad, start=start, end=end)


def _grid(across: Scale, up: Scale) -> Markup:
    down = [
        line(across(tick), _TOP, across(tick), _BOTTOM, class_="grid")
        + text(f"{tick:g}", across(tick), _BOTTOM + 16, class_="tick middle")
        for tick in across.ticks(6)
    ]
    level = [
        line(_LEFT, up(tick), _RIGHT, up(tick), class_="grid")
        + text(f"{tick:g}", _LEFT - 8, up(tick) + 4, class_="tick end")
        for tick in up.ticks(6)
    ]
    return element("g", *down, *level, *_titles())


def _titles() -> list[Markup]:
    """The axes' names, and in words which end is the good one."""
    return [
        line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, class_="zero"),
        line(_LEFT, _TOP, _LEFT, _BOTTOM, class_="zero"),
        text("← learns better", _LEFT, _BOTTOM + 38, class_="tick good"),
        text("learned loss (plasticity), nats per token", _RIGHT, _BOTTOM + 38, class_="axis end"),
        text("← keeps better", 0, 0, class_="tick good", transform=f"translate(20 {_BOTTOM:g}) rotate(-90)"),
        text(
            "retained loss (stability), nats per token",
            0,
            0,
            class_="axis end",
            transform=f"translate(20 {_TOP:g}) rotate(-90)",
        ),
        text("The good corner is below on the left.", _LEFT, _BOTTOM + 60, class_="tick"),
    ]


def _diagonal(across: Scale, up: Scale, free: Free) -> Markup:
    low, high = max(across.low, up.low), min(across.high, up.high)
    if low >= high:
        return Markup("")
    start, end = (across(low), up(low)), (across(high), up(high))
    turn = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
    name, below = "all kept: retained = learned", 14
    places = [tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in (0.98, 0.7, 0.45)]
    index, _ = free.take(name, [(x, y + below, "end") for x, y in places], turn)
    x, y = places[index]
    move = f"translate({x:.2f} {y:.2f}) rotate({turn:.2f})"
    return element(
        "g",
        line(*start, *end, class_="diagonal"),
        text(name, 0, below, class_="axis end along", transform=move),
    )


def _joint(reference: Reference | None, up: Scale, free: Free) -> Markup:
    if reference is None:
        return Markup("")
    style, retained = reference
    y = up(retained.mean)
    name = f"{figures.shorten(style.name, 12)}: retained only"
    spots = [(x, y + dy, "end") for x in (_RIGHT - 6, _RIGHT - 180, _RIGHT - 350) for dy in (-5, 14)]
    index, _ = free.take(name, spots)
    return element(
        "g",
        line(_LEFT, y, _RIGHT, y, class_="reference"),
        text(name, spots[index][0], spots[index][1], class_="axis end along"),
        data_arm=style.key,
        data_tip=f"{style.name}: retained {figures.loss(retained.mean)}{figures.spread(retained)} nats per token",
    )


def _series(found: Iterable[Spot]) -> list[list[Spot]]:
    """Small marks of one arm and rate that differ in size alone, from the smallest model to the largest."""
    groups: dict[str, list[Spot]] = {}
    for spot in found:
        if spot.small:
            groups.setdefault(spot.name, []).append(spot)
    ordered = [sorted(group, key=lambda spot: spot.parameters or 0) for group in groups.values()]
    return [group for group in ordered if len({spot.parameters for spot in group}) == len(group)]


def _trail(series: Sequence[Spot], across: Scale, up: Scale) -> Markup:
    places = [(across(spot.learned.mean), up(spot.retained.mean)) for spot in series]
    style = series[0].style
    return element("path", d=polyline(places), class_="lead", style=f"--c:{style.colour}", data_arm=style.key)


def _spot(spot: Spot, across: Scale, up: Scale, compute: Scale) -> Markup:
    x, y = across(spot.learned.mean), up(spot.retained.mean)
    shape = mark(
        spot.style.shape,
        x,
        y,
        _SMALL if spot.small else _MARK,
        class_="compute outlined",
        style=f"--share:{compute(spot.flops):.3f}",
    )
    return element(
        "g",
        _bar(spot.learned, across, y, upright=False),
        _bar(spot.retained, up, x, upright=True),
        shape,
        data_arm=spot.style.key,
        data_tip=_tip(spot),
    )


def _bar(quantity: Quantity, scale: Scale, at: float, *, upright: bool) -> Markup:
    if not quantity.sd:
        return Markup("")
    low, high = (scale(bound) for bound in _bounds(quantity))
    ends = (at, low, at, high) if upright else (low, at, high, at)
    return line(*ends, class_="whisker")


def _tip(spot: Spot) -> str:
    size = f", {figures.compact(spot.parameters)} parameters" if spot.parameters else ""
    seeds = f"; {spot.retained.n} seeds" if spot.retained.n > 1 else ""
    return (
        f"{spot.name}{size}: learned {figures.loss(spot.learned.mean)}{figures.spread(spot.learned)}, "
        f"retained {figures.loss(spot.retained.mean)}{figures.spread(spot.retained)} nats per token, "
        f"{figures.scientific(spot.flops)} FLOPs{seeds}"
    )


def _free(found: Iterable[Spot], across: Scale, up: Scale) -> Free:
    free = Free(left=_LEFT, top=_TOP, right=_WIDTH, bottom=_BOTTOM)
    for spot in found:
        free.block(across(spot.learned.mean), up(spot.retained.mean), _SMALL if spot.small else _MARK)
    return free


def _ends_series(spot: Spot, found: Iterable[Spot]) -> bool:
    """The largest model of a series of sizes; single runs of the sweep are named where the pointer is."""
    same = {other.parameters or 0 for other in found if other.small and other.name == spot.name}
    return spot.small and len(same) > 1 and (spot.parameters or 0) == max(same)


def _name(spot: Spot, across: Scale, up: Scale, free: Free) -> Markup:
    name = figures.shorten(spot.name, 24)
    return element(
        "g",
        free.name(
            name,
            across(spot.learned.mean),
            up(spot.retained.mean),
            class_="label small" if spot.small else "label",
        ),
        style=f"--c:{spot.style.colour}",
        data_arm=spot.style.key,
    )
