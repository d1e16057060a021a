"""Forgetting as bars from a zero line: a panel for each language, a bar for each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.charts.svg import Scale, chart, element, line, rectangle, text
from palimpsest.report.palette import Style
from palimpsest.report.results import Arm, Quantity

WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 320.0, 82.0, 262.0, 24.0, 30.0


def scale(arms: Sequence[Arm]) -> Scale:
    """One scale for all panels; zero is always on it."""
    values = [quantity for arm in arms for quantity in arm.forgetting.values()]
    low = min([0.0] + [value.mean - (value.sd or 0) for value in values])
    high = max([0.0] + [value.mean + (value.sd or 0) for value in values])
    return Scale(low=low, high=high if high > low else low + 1, start=_LEFT + (44 if low < 0 else 0), end=_RIGHT)


def draw(title: str, values: Mapping[str, Quantity], styles: Mapping[str, Style], across: Scale) -> Markup:
    """A panel: ``values`` by arm, nats per token, positive = forgot."""
    height = _TOP + len(values) * _ROW + 40
    bottom = _TOP + len(values) * _ROW + 2
    ticks = [
        line(across(tick), _TOP - 4, across(tick), bottom, class_="grid")
        + text(f"{tick:g}".replace("-", "−"), across(tick), bottom + 15, class_="tick middle")
        for tick in across.ticks(4)
    ]
    bars = [
        _bar(arm, value, styles[arm], across, _TOP + index * _ROW) for index, (arm, value) in enumerate(values.items())
    ]
    zero = line(across(0), _TOP - 6, across(0), bottom, class_="zero")
    unit = text("nats per token", (_LEFT + _RIGHT) / 2, bottom + 32, class_="axis middle")
    said = figures.listing([f"{arm} {figures.signed(value.mean)}" for arm, value in values.items()])
    return chart(
        WIDTH, height, f"{title}: {said}", text(title, _LEFT, 14, class_="panel-title"), *ticks, *bars, zero, unit
    )


def _bar(arm: str, value: Quantity, style: Style, across: Scale, y: float) -> Markup:
    middle = y + _ROW / 2
    left, right = sorted((across(0), across(value.mean)))
    parts = [
        text(figures.shorten(arm, 11), _LEFT - 8, middle + 4, class_="tick end arm-name"),
        rectangle(left, y + 4, right - left, _ROW - 8, class_="bar", style=f"--c:{style.colour}"),
    ]
    low, high = left, right
    if value.sd:
        low, high = min(left, across(value.mean - value.sd)), max(right, across(value.mean + value.sd))
        parts.append(
            line(across(value.mean - value.sd), middle, across(value.mean + value.sd), middle, class_="whisker")
        )
    if value.mean < 0:
        parts.append(text(figures.signed(value.mean), low - 5, middle + 4, class_="value end"))
    else:
        parts.append(text(figures.signed(value.mean), high + 5, middle + 4, class_="value"))
    seeds = f" {figures.spread(value)} over {value.n} seeds" if value.sd is not None else ""
    return element(
        "g", *parts, data_arm=style.key, data_tip=f"{arm}: {figures.signed(value.mean)}{seeds} nats per token"
    )
