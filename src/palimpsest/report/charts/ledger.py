"""The ledger as stacked bars: what each arm trained on, stage by stage, new tokens full and replayed ones hatched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.charts.svg import Scale, chart, element, line, rectangle, text
from palimpsest.report.palette import Style
from palimpsest.report.results import Arm

_WIDTH, _LEFT, _RIGHT, _ROW, _BAR, _TOP = 660.0, 92.0, 530.0, 36.0, 20.0, 8.0


def draw(arms: Sequence[Arm], styles: Mapping[str, Style], compute: Mapping[str, float | None]) -> Markup:
    """A bar for each arm that has a ledger; ``compute`` is FLOPs relative to the sequential arm."""
    rows = [arm for arm in arms if arm.ledger]
    most = max((arm.ledger.total for arm in rows if arm.ledger), default=1)
    across = Scale(low=0, high=most, start=_LEFT, end=_RIGHT)
    bottom = _TOP + len(rows) * _ROW
    ticks = [
        line(across(tick), _TOP, across(tick), bottom, class_="grid")
        + text(figures.compact(tick), across(tick), bottom + 16, class_="tick middle")
        for tick in across.ticks(5)
    ]
    bars = [
        _arm(arm, styles[arm.name], across, _TOP + index * _ROW, compute.get(arm.name))
        for index, arm in enumerate(rows)
    ]
    label = text("training tokens", (_LEFT + _RIGHT) / 2, bottom + 34, class_="axis middle")
    return chart(_WIDTH, bottom + 42, "Training tokens of each arm, new and replayed", *ticks, *bars, label)


def _arm(arm: Arm, style: Style, across: Scale, y: float, compute: float | None) -> Markup:
    middle = y + _ROW / 2 + 4
    total = arm.ledger.total if arm.ledger else 0
    cost = f" · {figures.times(compute)}" if compute else ""
    return element(
        "g",
        text(figures.shorten(arm.name, 12), _LEFT - 8, middle, class_="tick end arm-name"),
        *_segments(arm, across, y + (_ROW - _BAR) / 2),
        text(f"{figures.compact(total)}{cost}", across(total) + 8, middle, class_="value"),
        data_arm=style.key,
        style=f"--c:{style.colour}",
    )


def _segments(arm: Arm, across: Scale, y: float) -> Iterator[Markup]:
    """New then replayed tokens of every stage; the whole arm as one where its stages are not known."""
    stages = arm.by_stage or ({"all stages": arm.ledger} if arm.ledger else {})
    done = 0
    for stage, ledger in stages.items():
        for kind, amount in (("new", ledger.new), ("replayed", ledger.replayed)):
            if amount:
                yield _segment(across(done), across(done + amount), y, stage, kind, amount)
            done += amount


def _segment(left: float, right: float, y: float, stage: str, kind: str, amount: int) -> Markup:
    width = right - left - 1.5
    parts = [rectangle(left, y, width, _BAR, class_=f"tokens {kind}", rx=1.5)]
    if kind == "replayed":
        parts.append(rectangle(left, y, width, _BAR, class_="hatched coarse", rx=1.5))
    if kind == "new" and width > 9 * len(stage):
        parts.append(text(stage, left + width / 2, y + 14.5, class_="on-bar middle"))
    return element("g", *parts, data_tip=f"{stage}: {figures.count(amount)} {kind} tokens")
