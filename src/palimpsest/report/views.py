"""The page's tables as rows of ready text, so that the templates only place them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from palimpsest.report import figures
from palimpsest.report.charts import heatmap
from palimpsest.report.palette import Style
from palimpsest.report.results import Arm, Quantity, Results


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number, its spread in small print, and whether it is the lowest of the compared arms in its column."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    style: Style
    seeds: str
    cells: list[Cell]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Columns under one heading."""

    title: str
    columns: list[str]


@dataclass(frozen=True, kw_only=True)
class Table:
    groups: list[Group]
    rows: list[Row]
    intervals: bool


_Pick = Callable[[Arm], Quantity | None]


def headline(results: Results, styles: Mapping[str, Style]) -> Table:
    """Losses, forgetting and cost of every arm."""
    loss: list[_Pick] = [lambda arm, j=j: arm.final.get(j) for j in results.languages]  # type: ignore[misc]
    forgot: list[_Pick] = [lambda arm, j=j: arm.forgetting.get(j) for j in results.earlier]  # type: ignore[misc]
    means: list[_Pick] = [lambda arm: arm.retained, lambda arm: arm.learned]
    columns = [
        *(
            _with_intervals(results, language, _column(results.arms, pick, figures.loss))
            for language, pick in zip(results.languages, loss, strict=True)
        ),
        *(_column(results.arms, pick, figures.signed) for pick in forgot),
        *(_column(results.arms, pick, figures.loss) for pick in means),
    ]
    rows = [
        Row(
            name=arm.name,
            style=styles[arm.name],
            seeds=_seeds(arm),
            cells=[column[index] for column in columns] + _cost(results, arm),
        )
        for index, arm in enumerate(results.arms)
    ]
    groups = [
        Group(title="Loss after the last stage", columns=results.languages),
        Group(title="Forgetting", columns=results.earlier),
        Group(title="Mean loss", columns=["retained", "learned"]),
        Group(title="Training tokens", columns=["new", "replayed", "total"]),
        Group(title="Compute", columns=["FLOPs", "relative"]),
    ]
    return Table(
        groups=[group for group in groups if group.columns],
        rows=rows,
        intervals=any(results.interval(arm, arm.stages[-1], name) for arm in results.arms for name in arm.final),
    )


def _column(arms: Sequence[Arm], pick: _Pick, write: Callable[[float], str]) -> list[Cell]:
    """The lowest is marked only where arms are compared at all, and not among equals as they are written."""
    values = [pick(arm) for arm in arms]
    shown = [write(value.mean) if value else figures.NONE for value in values]
    compared = [
        (value.mean, text)
        for arm, value, text in zip(arms, values, shown, strict=True)
        if value and not arm.is_reference
    ]
    best = min(compared)[1] if len(compared) > 1 else None
    marked = best if best and any(text != best for _, text in compared) else None
    return [
        Cell(text=text, note=figures.spread(value) if value else "", best=text == marked and not arm.is_reference)
        for arm, value, text in zip(arms, values, shown, strict=True)
    ]


def _with_intervals(results: Results, language: str, column: list[Cell]) -> list[Cell]:
    """The column with the interval over documents in small print, where one seed has no spread."""
    return [
        replace(cell, note=figures.interval(*interval, digits=2))
        if (interval := arm.stages and results.interval(arm, arm.stages[-1], language))
        else cell
        for arm, cell in zip(results.arms, column, strict=True)
    ]


def _seeds(arm: Arm) -> str:
    """How many seeds the arm's figures are means over, where they are several."""
    number = max((value.n for value in arm.final.values()), default=1)
    return f"{number} seeds" if number > 1 else ""


def _cost(results: Results, arm: Arm) -> list[Cell]:
    if not arm.ledger:
        return [Cell(text=figures.NONE)] * 5
    relative = results.compute(arm)
    amounts = [figures.compact(amount) for amount in (arm.ledger.new, arm.ledger.replayed, arm.ledger.total)]
    written = [*amounts, figures.scientific(arm.ledger.flops), figures.times(relative) if relative else figures.NONE]
    return [Cell(text=text) for text in written]


def ink(results: Results, styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    """Every arm's languages with the ink (0 to 1) that their final loss leaves them, on the heat maps' colour scale."""
    scale = heatmap.colour_scale(arm.loss for arm in results.arms)
    return [
        {
            "style": styles[arm.name],
            "words": [
                {
                    "name": figures.language(name),
                    "ink": f"{1 - scale.share(value.mean):.3f}",
                    "loss": figures.loss(value.mean),
                }
                for name in results.languages
                if (value := arm.final.get(name))
            ],
        }
        for arm in results.arms
    ]


def rates(results: Results) -> str:
    """The replay rates of the stages that replay: one where they are all alike, else each stage's."""
    written = {stage: figures.listing([figures.rate(rate) for rate in at]) for stage, at in results.rates.items()}
    if len(set(written.values())) < 2:
        return next(iter(written.values()), "")
    return ", ".join(f"{stage} {rate}" for stage, rate in written.items())


def ledger(results: Results, styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    """A block of rows for each arm: its stages, then their sum where there are several."""
    blocks = []
    for arm in results.arms:
        rows = [(stage, entry) for stage, entry in arm.by_stage.items()]
        if arm.ledger and len(rows) != 1:
            rows.append(("all", arm.ledger))
        written = [
            [
                stage,
                *(figures.count(amount) for amount in (entry.new, entry.replayed, entry.total)),
                figures.scientific(entry.flops),
            ]
            for stage, entry in rows
        ]
        if written:
            blocks.append({"style": styles[arm.name], "rows": written})
    return blocks


def data(results: Results) -> list[list[str]]:
    """A row for each language: documents in, kept and dropped, tokens, and what a token costs."""
    return [_data_row(name, entry) for name, entry in results.data.items()]


def _data_row(name: str, entry: Mapping[str, Any]) -> list[str]:
    came, lost = entry.get("documents_in"), sum((entry.get("dropped") or {}).values())
    train, held_out = entry.get("train") or {}, entry.get("validation") or {}
    fertility = entry.get("tokens_per_word"), entry.get("tokens_per_byte")
    return [
        name,
        _count(came),
        f"{figures.count(lost)} ({figures.percent(lost / came)})" if came else figures.NONE,
        _count(train.get("documents")),
        _count(held_out.get("documents")),
        _compact(train.get("bytes")),
        _compact(train.get("tokens")),
        *(
            figures.NONE if value is None else f"{value:.{digits}f}"
            for value, digits in zip(fertility, (2, 3), strict=True)
        ),
    ]


def sources(results: Results) -> list[list[str]]:
    """A row for each source of each language: kind, licence, documents, tokens and their share of the language's."""
    return [
        [
            language,
            name,
            str(source.get("kind", figures.NONE)),
            str(source.get("licence") or "not stated"),
            _count(source.get("documents_in")),
            _compact(source.get("tokens")),
            figures.percent(source["share"]) if "share" in source else figures.NONE,
        ]
        for language, entry in results.data.items()
        for name, source in (entry.get("sources") or {}).items()
    ]


def notes(results: Results) -> list[tuple[str, str]]:
    """By language, what was done to the text or not read: personal data that was masked, and damaged files."""
    found = []
    for language, entry in results.data.items():
        if masked := {kind: count for kind, count in (entry.get("masked") or {}).items() if count}:
            listed = ", ".join(f"{kind} {figures.count(count)}" for kind, count in masked.items())
            found.append((language, f"masked personal data: {listed}"))
        for file in entry.get("bad_files") or []:
            found.append((language, f"damaged file {file['source']}/{file['name']}: {file['problem']}"))
    return found


def lineages(results: Results, styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    """Every arm's last checkpoint for each seed, split at its folders so that a long path can break there."""
    return [
        {"style": styles[arm.name], "seed": seed, "parts": chain[-1].split("/")}
        for arm in results.arms
        for seed, chain in arm.lineages.items()
        if chain
    ]


def revisions(results: Results) -> list[tuple[str, str]]:
    """Models and datasets of the hub that the params name, each with its revision."""
    params = results.raw.get("params") or {}
    model = params.get("model") or {}
    found = [(model.get("hub"), model.get("revision"))]
    sources = (params.get("corpus") or {}).get("sources") or {}
    listed = [source for given in sources.values() for source in given if isinstance(source, Mapping)]
    found += [(source.get("dataset"), source.get("revision")) for source in listed]
    return list(dict.fromkeys((str(name), str(revision)) for name, revision in found if name and revision))


def params(results: Results) -> str:
    """The resolved params as YAML."""
    return yaml.safe_dump(
        results.raw.get("params") or {}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def _count(value: int | None) -> str:
    return figures.NONE if value is None else figures.count(value)


def _compact(value: int | None) -> str:
    return figures.NONE if value is None else figures.compact(value)
