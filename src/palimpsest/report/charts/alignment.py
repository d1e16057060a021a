"""The cosine of the gradients of new and of replayed text over training: a panel for a group of layers, a line an arm.

Above zero a step that learns the new text helps the replayed one too; below zero it works against it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.alignment import Line, Point, Window
from palimpsest.report.charts.labels import beside
from palimpsest.report.charts.marks import mark
from palimpsest.report.charts.svg import Scale, chart, element, line, polyline, text
from palimpsest.report.palette import Style
from palimpsest.report.results import Arm

_LEFT, _TOP, _LABEL, _WINDOWS = 44.0, 34.0, 11, 36


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The size of a panel: names stand to the right of ``right``."""

    width: float
    height: float
    right: float
    bottom: float


LARGE = Frame(width=660, height=300, right=576, bottom=258)
SMALL = Frame(width=336, height=220, right=256, bottom=180)


def axis(arms: Sequence[Arm], lines: Sequence[Line], frame: Frame) -> Scale:
    """Steps from the start of the lineage, from where the first stage that replays begins."""
    steps = [point.step for curve in lines for point in curve.points]
    spans = [span for arm in arms for span in arm.spans.values() if span.rate and _drawn(arm, lines)]
    low = min([*(span.start for span in spans), *steps])
    high = max([*(span.end for span in spans), *steps])
    return Scale(low=low, high=high, start=_LEFT, end=frame.right)


def cosine_scale(lines: Sequence[Line], frame: Frame) -> Scale:
    """One scale for all panels of a view; zero is always on it."""
    values = [bound for curve in lines for point in curve.points for bound in (point.low, point.high)]
    values += [value for curve in lines for window in curve.windows for value in (window.before, window.after)]
    low, high = min([0.0, *values]), max([0.0, *values])
    pad = (high - low) * 0.06 or 0.1
    return Scale(low=low - pad, high=high + pad, start=frame.bottom, end=_TOP)


def draw(group: str, lines: Sequence[Line], arms: Sequence[Arm], styles: Mapping[str, Style], frame: Frame) -> Markup:
    """The panel of one group of layers, on the scales of all ``lines``."""
    across, up = axis(arms, lines, frame), cosine_scale(lines, frame)
    mine = [curve for curve in lines if curve.group == group and curve.points]
    names = [(figures.shorten(curve.arm, _LABEL), styles[curve.arm]) for curve in mine]
    ends = [(across(curve.points[-1].step), up(curve.points[-1].mean)) for curve in mine]
    return chart(
        frame.width,
        frame.height,
        f"Cosine of the gradients of new and replayed text, {_title(group)}, for "
        f"{figures.listing([curve.arm for curve in mine]) or 'no arm'}",
        _grid(across, up, frame),
        _stages([arm for arm in arms if _drawn(arm, mine)], across, frame),
        *(_line(curve, styles[curve.arm], across, up) for curve in mine),
        *(_windows(curve, styles[curve.arm], across, up) for curve in mine if frame is LARGE),
        *beside(names, ends, frame.right, _TOP, frame.bottom),
        text(_title(group), _LEFT, 14, class_="panel-title"),
        line(0, 0, 0, 0, class_="cursor"),
        data_lines=json.dumps([_tooltip(curve, styles[curve.arm], across) for curve in mine], separators=(",", ":")),
        data_top=_TOP,
        data_bottom=frame.bottom,
    )


def _drawn(arm: Arm, lines: Iterable[Line]) -> bool:
    return any(curve.arm == arm.name for curve in lines)


def _title(group: str) -> str:
    return "All weights together" if group == "all" else group[:1].upper() + group[1:]


def _grid(across: Scale, up: Scale, frame: Frame) -> Markup:
    level = [
        line(_LEFT, up(tick), frame.right, up(tick), class_="grid")
        + text(f"{tick:g}".replace("-", "−"), _LEFT - 6, up(tick) + 4, class_="tick end")
        for tick in up.ticks(5)
    ]
    down = [
        line(across(tick), frame.bottom, across(tick), frame.bottom + 4, class_="boundary")
        + text(figures.compact(tick), across(tick), frame.bottom + 16, class_="tick middle")
        for tick in across.ticks(5)
    ]
    zero = line(_LEFT, up(0), frame.right, up(0), class_="zero")
    title = text("optimiser steps", (_LEFT + frame.right) / 2, frame.bottom + 34, class_="axis middle")
    return element("g", *level, *down, zero, title)


def _stages(arms: Sequence[Arm], across: Scale, frame: Frame) -> Markup:
    """Where the stages that replay begin, and their names; arms that replay alike share them."""
    starts = sorted({(span.start, span.end, stage) for arm in arms for stage, span in arm.spans.items() if span.rate})
    parts, free = [], 0.0
    for start, end, stage in starts:
        x = across(start)
        parts.append(line(x, _TOP, x, frame.bottom, class_="boundary"))
        label = figures.shorten(stage, max(2, int((across(end) - x) / 7)))
        if x >= free:
            parts.append(text(label, x + 3, _TOP - 4, class_="tick"))
            free = x + 7 * len(label)
    return element("g", *parts)


def _line(curve: Line, style: Style, across: Scale, up: Scale) -> Markup:
    """A path a stage, since nothing is measured between them."""
    stages: dict[str, list[Point]] = {}
    for point in curve.points:
        stages.setdefault(point.stage, []).append(point)
    colour = f"--c:{style.colour}"
    parts = [_ribbon(points, colour, across, up) for points in stages.values()]
    parts += [
        element(
            "path",
            d=polyline((across(point.step), up(point.mean)) for point in points),
            class_="curve",
            style=colour,
            stroke_dasharray=style.dash,
        )
        for points in stages.values()
    ]
    return element("g", *parts, data_arm=style.key)


def _ribbon(points: Sequence[Point], colour: str, across: Scale, up: Scale) -> Markup:
    """From the lowest to the highest seed; nothing for one seed."""
    if all(point.seeds == 1 for point in points):
        return Markup("")
    above = [(across(point.step), up(point.high)) for point in points]
    below = [(across(point.step), up(point.low)) for point in reversed(points)]
    return element("path", d=polyline(above + below) + "Z", class_="ribbon", style=colour)


def _windows(curve: Line, style: Style, across: Scale, up: Scale) -> Markup:
    """As many windows as can be told apart, evenly chosen; the mean change is over all of them."""
    some = curve.windows[:: max(-(-len(curve.windows) // _WINDOWS), 1)]
    return element("g", *(_window(window, style, across, up) for window in some), data_arm=style.key)


def _window(window: Window, style: Style, across: Scale, up: Scale) -> Markup:
    """Hollow before the interpolation, full after it."""
    x, before, after = across(window.step), up(window.before), up(window.after)
    tip = (
        f"{style.name}, {window.stage}, step {window.step}: {figures.loss(window.before)} before the interpolation, "
        f"{figures.loss(window.after)} after it ({figures.signed(window.after - window.before)})"
    )
    return element(
        "g",
        line(x, before, x, after, class_="change"),
        mark(style.shape, x, before, 2.8, class_="run"),
        mark(style.shape, x, after, 2.8, class_="mark"),
        style=f"--c:{style.colour};--fill:0",
        data_tip=tip,
    )


def _tooltip(curve: Line, style: Style, across: Scale) -> dict[str, object]:
    points = curve.points
    stages = list(dict.fromkeys(point.stage for point in points))
    return {
        "arm": style.key,
        "name": curve.arm,
        "x": [round(across(point.step), 1) for point in points],
        "loss": [round(point.mean, 3) for point in points],
        "step": [point.step for point in points],
        "tokens": [point.tokens for point in points],
        "stages": stages,
        "stage": [stages.index(point.stage) for point in points],
        "range": [[round(point.low, 3), round(point.high, 3)] if point.seeds > 1 else 0 for point in points],
    }
