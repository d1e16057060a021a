"""What the charts are drawn with: escaped SVG elements, scales with round ticks, labels that make room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element. ``class_`` is class, ``stroke_width`` is stroke-width, None is left out; text is escaped."""
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(name.rstrip("_").replace("_", "-")), _number(value))
        for name, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, Markup("").join(children))


def chart(width: float, height: float, description: str, *children: str, **attributes: str | float | None) -> Markup:
    """The svg element of a chart. It keeps its size where there is room, and shrinks where there is not."""
    return element(
        "svg",
        *children,
        class_="chart",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=description,
        **attributes,
    )


def text(content: str, x: float, y: float, **attributes: str | float | None) -> Markup:
    return element("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: str | float | None) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def rectangle(x: float, y: float, width: float, height: float, **attributes: str | float | None) -> Markup:
    return element("rect", x=x, y=y, width=max(width, 0), height=max(height, 0), **attributes)


def polyline(places: Iterable[tuple[float, float]]) -> str:
    """The ``d`` of a path through the places."""
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in places)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From values in [low, high] to pixels in [start, end]; logarithmic scales need low > 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies between low (0) and high (1); a scale of one value puts it in the middle."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5

    def __call__(self, value: float) -> float:
        return self.start + self.share(value) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values inside the scale."""
        return _log_ticks(self.low, self.high, count) if self.log else _linear_ticks(self.low, self.high, count)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    """The coarsest of a few sets of mantissas that still gives ``count`` ticks; else round linear steps."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)):
        ticks = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        inside = [float(f"{tick:.10g}") for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(inside) >= count - 1:
            return inside
    return _linear_ticks(low, high, count)


def spaced(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved as little as it takes to lie ``gap`` apart inside [low, high], in the same order.

    Labels that touch form a group around their mean place; groups that touch are merged.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        while (
            len(groups) > 1
            and _top(groups[-1], places, gap, low, high) < _bottom(groups[-2], places, gap, low, high) + gap
        ):
            last = groups.pop()
            groups[-1].extend(last)
    moved = [0.0] * len(places)
    for group in groups:
        top = _top(group, places, gap, low, high)
        for rank, index in enumerate(group):
            moved[index] = top + rank * gap
    return moved


def _top(group: list[int], places: Sequence[float], gap: float, low: float, high: float) -> float:
    length = (len(group) - 1) * gap
    middle = sum(places[index] for index in group) / len(group)
    return max(low, min(middle - length / 2, high - length))


def _bottom(group: list[int], places: Sequence[float], gap: float, low: float, high: float) -> float:
    return _top(group, places, gap, low, high) + (len(group) - 1) * gap


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
