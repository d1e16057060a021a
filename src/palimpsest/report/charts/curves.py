"""Loss over training: a panel for each language, a line for each arm.

Panels are by language, not by arm, because the question is a comparison of arms: how far apart do they end on a
language that training has left? Lines in one panel answer that at a glance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.charts.labels import beside
from palimpsest.report.charts.svg import Scale, chart, element, line, polyline, rectangle, text
from palimpsest.report.history import Line, Point
from palimpsest.report.palette import Style
from palimpsest.report.results import REFERENCE, Arm

WIDTH, _HEIGHT = 336.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 262.0, 34.0, 210.0
_LABEL = 11  # characters of an arm's name that fit to the right of a panel
_LOG_FROM = 2.5  # largest loss over smallest from which a linear axis would press the trained end flat


@dataclass(frozen=True, kw_only=True)
class Shade:
    """Where some arm replays, from ``start`` to ``end`` in the axis's units."""

    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The horizontal axis: "stages" gives every stage the same width, "tokens" counts tokens, replayed ones too."""

    kind: str
    stages: Sequence[str]
    scale: Scale
    shades: Sequence[Shade] = ()

    def place(self, arm: str, point: Point) -> float:
        if self.kind == "tokens":
            return self.scale(point.tokens)
        return self.scale(point.progress * (len(self.stages) if arm == REFERENCE else 1))


def axis(kind: str, languages: Sequence[str], lines: Sequence[Line], arms: Sequence[Arm] = ()) -> Axis:
    tokens = max((point.tokens for line in lines for point in line.points), default=1)
    high = float(tokens) if kind == "tokens" else float(len(languages))
    shades = (_token_shades if kind == "tokens" else _stage_shades)(languages, lines, arms)
    return Axis(kind=kind, stages=languages, scale=Scale(low=0, high=high, start=_LEFT, end=_RIGHT), shades=shades)


def _stage_shades(languages: Sequence[str], _lines: Sequence[Line], arms: Sequence[Arm]) -> list[Shade]:
    return [
        Shade(start=index, end=index + 1)
        for index, stage in enumerate(languages)
        if any(arm.rate(stage) for arm in arms)
    ]


def _token_shades(_languages: Sequence[str], lines: Sequence[Line], arms: Sequence[Arm]) -> list[Shade]:
    """Stages begin at other tokens in other arms; those that replay alike share their shades."""
    found: set[tuple[int, int]] = set()
    for arm in arms:
        curve = next((line for line in lines if line.arm == arm.name), None)
        ends = [0, *(point.tokens for point in curve.boundaries)] if curve else []
        stages = zip(curve.stages if curve else [], ends, ends[1:], strict=False)
        found |= {(start, end) for stage, start, end in stages if arm.rate(stage)}
    return [Shade(start=start, end=end) for start, end in sorted(found)]


def loss_scale(lines: Sequence[Line]) -> Scale:
    """One vertical scale for all panels, a little wider than the losses."""
    losses = [loss for line in lines for point in line.points for loss in (point.low, point.high)] or [1.0, 2.0]
    low, high = min(losses), max(losses)
    if low > 0 and high / low >= _LOG_FROM:
        return Scale(low=low / 1.08, high=high * 1.08, start=_BOTTOM, end=_TOP, log=True)
    pad = (high - low) * 0.06 or 0.5
    return Scale(low=low - pad, high=high + pad, start=_BOTTOM, end=_TOP)


def draw(language: str, lines: Sequence[Line], styles: Mapping[str, Style], across: Axis, up: Scale) -> Markup:
    """The panel of one language. Its ``data-lines`` hold what the tooltip needs: places in pixels and values."""
    mine = [line for line in lines if line.language == language and line.points and line.arm in styles]
    name = figures.language(language)
    return chart(
        WIDTH,
        _HEIGHT,
        f"Validation loss on {name} over training, for {figures.listing([line.arm for line in mine]) or 'no arm'}",
        _grid(up),
        _stage_bands(language, across) if across.kind == "stages" else _token_ticks(across),
        _shading(across),
        _stage_starts(mine, styles, across) if across.kind == "tokens" else "",
        element("g", *(_line(line, styles[line.arm], across, up) for line in _reference_first(mine))),
        element("g", *_labels(mine, styles, across, up)),
        text(name if name == language else f"{name} ({language})", _LEFT, 14, class_="panel-title"),
        text("nats per token", _RIGHT, 14, class_="axis end"),
        line(0, 0, 0, 0, class_="cursor"),
        data_lines=json.dumps([_tooltip(line, styles[line.arm], across, up) for line in mine], separators=(",", ":")),
        data_top=_TOP,
        data_bottom=_BOTTOM,
    )


def _reference_first(lines: Iterable[Line]) -> list[Line]:
    """Drawn first is drawn below: the arms that are compared lie over the reference."""
    return sorted(lines, key=lambda line: line.arm != REFERENCE)


def _grid(up: Scale) -> Markup:
    rules = [
        line(_LEFT, up(tick), _RIGHT, up(tick), class_="grid")
        + text(f"{tick:g}", _LEFT - 6, up(tick) + 4, class_="tick end")
        for tick in up.ticks(4)
    ]
    return element("g", *rules)


def _stage_bands(language: str, across: Axis) -> Markup:
    """Boundaries between stages, the names below; the panel's own stage is tinted."""
    parts = []
    for index, stage in enumerate(across.stages):
        left, right = across.scale(index), across.scale(index + 1)
        own = stage == language
        if own:
            parts.append(rectangle(left, _TOP, right - left, _BOTTOM - _TOP, class_="band"))
        if index:
            parts.append(line(left, _TOP, left, _BOTTOM + 5, class_="boundary"))
        label = figures.shorten(stage, max(2, int((right - left) / 7)))
        parts.append(text(label, (left + right) / 2, _BOTTOM + 16, class_="tick middle own" if own else "tick middle"))
    parts.append(text("stage of training", (_LEFT + _RIGHT) / 2, _BOTTOM + 33, class_="axis middle"))
    return element("g", *parts)


def _shading(across: Axis) -> Markup:
    places = [(across.scale(shade.start), across.scale(shade.end)) for shade in across.shades]
    return element(
        "g",
        *(rectangle(left, _TOP, right - left, _BOTTOM - _TOP, class_="replay-shade") for left, right in places),
    )


def _token_ticks(across: Axis) -> Markup:
    ticks = across.scale.ticks(4)
    parts = [
        line(across.scale(tick), _BOTTOM, across.scale(tick), _BOTTOM + 4, class_="boundary")
        + text(figures.compact(tick), across.scale(tick), _BOTTOM + 16, class_="tick middle")
        for tick in ticks
    ]
    return element(
        "g",
        *parts,
        text("training tokens, replayed ones included", (_LEFT + _RIGHT) / 2, _BOTTOM + 33, class_="axis middle"),
    )


def _stage_starts(lines: Sequence[Line], styles: Mapping[str, Style], across: Axis) -> Markup:
    """Where stages begin by tokens: in the colour of an arm that is alone there, and named if there is room."""
    starts: dict[tuple[float, str], list[Style]] = {}
    for curve in lines:
        for end, stage in zip(curve.boundaries, curve.stages[1:], strict=False):
            starts.setdefault((across.place(curve.arm, end), stage), []).append(styles[curve.arm])
    parts, free = [], 0.0
    for (x, stage), there in sorted(starts.items(), key=lambda start: start[0]):
        colour = f"--c:{there[0].colour if len(there) == 1 else 'var(--soft)'}"
        parts.append(line(x, _TOP, x, _BOTTOM, class_="start", style=colour))
        label = figures.shorten(stage, 5)
        if x - 3.5 * len(label) >= free:
            parts.append(text(label, x, _TOP - 4, class_="start-label middle", style=colour))
            free = x + 3.5 * len(label) + 2
    return element("g", *parts)


def _line(curve: Line, style: Style, across: Axis, up: Scale) -> Markup:
    places = [(across.place(curve.arm, point), up(point.mean)) for point in curve.points]
    marks = [
        element(
            "circle",
            cx=across.place(curve.arm, point),
            cy=up(point.mean),
            r=2.4,
            class_="mark",
            style=f"--c:{style.colour}",
        )
        for point in curve.boundaries
    ]
    return element(
        "g",
        _ribbon(curve, style, across, up),
        element("path", d=polyline(places), class_="curve", style=f"--c:{style.colour}", stroke_dasharray=style.dash),
        *marks,
        data_arm=style.key,
    )


def _ribbon(curve: Line, style: Style, across: Axis, up: Scale) -> Markup:
    """From the lowest to the highest seed; nothing for one seed."""
    if all(point.seeds == 1 for point in curve.points):
        return Markup("")
    above = [(across.place(curve.arm, point), up(point.high)) for point in curve.points]
    below = [(across.place(curve.arm, point), up(point.low)) for point in reversed(curve.points)]
    return element("path", d=polyline(above + below) + "Z", class_="ribbon", style=f"--c:{style.colour}")


def _labels(lines: Sequence[Line], styles: Mapping[str, Style], across: Axis, up: Scale) -> Iterable[Markup]:
    names = [(figures.shorten(curve.arm, _LABEL), styles[curve.arm]) for curve in lines]
    ends = [(across.place(curve.arm, curve.points[-1]), up(curve.points[-1].mean)) for curve in lines]
    return beside(names, ends, _RIGHT, _TOP, _BOTTOM)


def _tooltip(curve: Line, style: Style, across: Axis, up: Scale) -> dict[str, object]:
    points = curve.points
    return {
        "arm": style.key,
        "name": curve.arm,
        "x": [round(across.place(curve.arm, point), 1) for point in points],
        "y": [round(up(point.mean), 1) for point in points],
        "loss": [round(point.mean, 3) for point in points],
        "step": [point.step for point in points],
        "tokens": [point.tokens for point in points],
        "stages": curve.stages,
        "stage": [curve.stages.index(point.stage) for point in points],
        "range": [[round(point.low, 3), round(point.high, 3)] if point.seeds > 1 else 0 for point in points],
    }
