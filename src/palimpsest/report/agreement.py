"""What MER's interpolation does to the agreement of gradients, in words and as rows of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from palimpsest.report import figures
from palimpsest.report.alignment import ALL, Line
from palimpsest.report.palette import Style


def said(lines: Iterable[Line]) -> list[str]:
    """A sentence for each arm whose windows were measured, on all weights."""
    return [
        f"An interpolation of {line.arm} changes the cosine by {figures.signed(change)} on average "
        f"over {figures.counted(len(line.windows), 'window')}."
        for line in lines
        if line.group == ALL and (change := line.change) is not None
    ]


def changes(lines: Sequence[Line], styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    """A block of rows for each such arm: a row for each group of layers."""
    arms = dict.fromkeys(line.arm for line in lines if line.windows)
    return [
        {"style": styles[arm], "rows": [_row(line) for line in lines if line.arm == arm and line.windows]}
        for arm in arms
    ]


def _row(line: Line) -> list[str]:
    before, after = (fmean(values) for values in zip(*((w.before, w.after) for w in line.windows), strict=True))
    return [
        "all weights" if line.group == ALL else line.group,
        figures.count(len(line.windows)),
        figures.loss(before),
        figures.loss(after),
        figures.signed(after - before),
    ]
