"""What cleaning dropped: a row for each reason, a column for each language, bars as shares of what came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.charts.svg import Scale, chart, element, line, rectangle, text

_LABEL, _COLUMN, _BAR, _ROW, _TOP, _REASON = 264.0, 128.0, 52.0, 24.0, 40.0, 40


def draw(data: Mapping[str, Mapping[str, Any]]) -> Markup:
    """``data`` is that of eval_all.json. Reasons are in order of the documents they took, the largest first."""
    reasons = _reasons(data)
    largest = max((_share(entry, reason) for entry in data.values() for reason in reasons), default=0.0)
    width, height = _LABEL + len(data) * _COLUMN, _TOP + len(reasons) * _ROW + 6
    labels = [
        text(figures.shorten(reason, _REASON), _LABEL - 12, _TOP + index * _ROW + 16, class_="tick end reason")
        for index, reason in enumerate(reasons)
    ]
    columns = [
        _column(
            language,
            entry,
            reasons,
            Scale(low=0, high=largest or 1, start=0, end=_BAR),
            _LABEL + index * _COLUMN,
            height,
        )
        for index, (language, entry) in enumerate(data.items())
    ]
    return chart(width, height, "Documents dropped, by reason and language", *labels, *columns)


def _reasons(data: Mapping[str, Mapping[str, Any]]) -> list[str]:
    totals: dict[str, int] = {}
    for entry in data.values():
        for reason, documents in (entry.get("dropped") or {}).items():
            totals[reason] = totals.get(reason, 0) + documents
    return sorted(totals, key=lambda reason: (-totals[reason], reason))


def _column(
    language: str, entry: Mapping[str, Any], reasons: Sequence[str], across: Scale, x: float, height: float
) -> Markup:
    rows = []
    for index, reason in enumerate(reasons):
        y, share = _TOP + index * _ROW, _share(entry, reason)
        documents = (entry.get("dropped") or {}).get(reason, 0)
        value = figures.percent(share) if documents else figures.NONE
        tip = (
            f"{reason}: {figures.count(documents)} documents in {figures.language(language)}, {figures.percent(share)}"
        )
        rows.append(
            element(
                "g",
                rectangle(x, y, _COLUMN - 8, _ROW, class_="target"),
                rectangle(x, y + 6, across(share), _ROW - 11, class_="bar neutral"),
                text(value, x + across(share) + 6, y + 16, class_="value" if documents else "value faint"),
                data_tip=tip,
            )
        )
    return element(
        "g",
        text(figures.shorten(figures.language(language), 14), x, 16, class_="panel-title"),
        *rows,
        line(x, _TOP - 8, x, height - 4, class_="zero"),
    )


def _share(entry: Mapping[str, Any], reason: str) -> float:
    documents = entry.get("documents_in") or 0
    return (entry.get("dropped") or {}).get(reason, 0) / documents if documents else 0.0
