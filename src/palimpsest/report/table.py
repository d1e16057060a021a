"""The short table that the terminal shows when the main job is done."""

from __future__ import annotations

from typing import Any

from palimpsest.report import figures
from palimpsest.report.results import Arm, Quantity, Results, parse

_NAME = 12  # characters of an arm's name


def headline(eval_all: dict[str, Any]) -> str:
    """The contents of eval_all.json as aligned text: a line for each arm, within 100 columns for three languages.

    Losses and forgetting are nats per token; ± is the standard deviation over seeds, where there are several.
    """
    results = parse(eval_all)
    groups = [
        ("", ["arm"]),
        ("final loss", results.languages),
        ("forgetting", results.earlier),
        ("training", ["tokens", "FLOPs"]),
    ]
    heads = [figures.shorten(head, _NAME) for _, columns in groups for head in columns]
    rows = [heads] + [_cells(results, arm) for arm in results.arms]
    widths = _widths(groups, rows)
    lines = [_titles(groups, widths)] + ["  ".join(_padded(row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, _note(results)])


def _widths(groups: list[tuple[str, list[str]]], rows: list[list[str]]) -> list[int]:
    """The columns' widths; the last one of a group makes room for a title that is wider than all of them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    end = 0
    for title, columns in groups:
        end += len(columns)
        if columns:
            widths[end - 1] += max(0, len(title) - _span(widths, end - len(columns), end))
    return widths


def _span(widths: list[int], start: int, end: int) -> int:
    return sum(widths[start:end]) + 2 * (end - start - 1)


def _cells(results: Results, arm: Arm) -> list[str]:
    compute = results.compute(arm)
    return [
        figures.shorten(arm.name, _NAME),
        *(_quantity(arm.final.get(language), signed=False) for language in results.languages),
        *(_quantity(arm.forgetting.get(language), signed=True) for language in results.earlier),
        figures.compact(arm.ledger.total).replace("\u202f", " ") if arm.ledger else figures.NONE,
        figures.times(compute) if compute else figures.scientific(arm.ledger.flops) if arm.ledger else figures.NONE,
    ]


def _quantity(value: Quantity | None, *, signed: bool) -> str:
    if value is None:
        return figures.NONE
    text = figures.signed(value.mean) if signed else figures.loss(value.mean)
    return text + figures.spread(value)


def _titles(groups: list[tuple[str, list[str]]], widths: list[int]) -> str:
    """The groups' names over their columns."""
    titles, place = [], 0
    for title, columns in groups:
        if columns:
            titles.append(title.rjust(_span(widths, place, place + len(columns))))
        place += len(columns)
    return "  ".join(titles).rstrip()


def _padded(row: list[str], widths: list[int]) -> list[str]:
    return [
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _note(results: Results) -> str:
    seeds = f"; ± one standard deviation over {results.seeds} seeds" if results.seeds > 1 else ""
    sample = "\nThe built-in sample corpus: nothing learnt from it is a research result." if results.sample else ""
    base = results.arm("sequential")
    relative = " FLOPs relative to sequential." if base and base.ledger else ""
    return f"Nats per token; forgetting above zero = forgot{seeds}.{relative}{sample}"
