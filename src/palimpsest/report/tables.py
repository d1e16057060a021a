"""The page's tables, as cells of ready text that one template places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from palimpsest.evaluate.results.dataset_summary import LanguageSummary
from palimpsest.evaluate.results.eval_all import ArmSummary, EvalAll
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.report import formatting
from palimpsest.report.paired_seeds import clearly_lowest, losses_by_seed
from palimpsest.report.palette import Style
from palimpsest.report.training_curves import ALL_WEIGHTS, Line

Styles = Mapping[str, Style]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """``note`` is in small print, ``tip`` for hovering; ``style`` of a column that belongs to an arm."""

    text: str
    note: str = ""
    tip: str = ""
    kind: str = ""  # a class of style.css: best, muted, said, ...
    style: Style | None = None


@dataclass(frozen=True, kw_only=True)
class Body:
    """Rows under one head, which is an arm where it has a ``style``."""

    name: str
    rows: list[list[Cell]]
    style: Style | None = None
    note: str = ""
    muted: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """``groups``: titles over columns, with their number; ``texts``: how many columns from the left are text."""

    heads: list[Cell]
    bodies: list[Body]
    groups: Sequence[tuple[str, int]] = ()
    texts: int = 1


def cells(*texts: str) -> list[Cell]:
    return [Cell(text=text) for text in texts]


def headline(results: EvalAll, styles: Styles) -> Table:
    """Losses, forgetting and cost of every arm. Bold is what the seeds tell from every other arm."""
    best = {column: clearly_lowest(by_arm) for column, by_arm in losses_by_seed(results).items()}
    bodies = []
    for name, arm in results.arms.items():
        row = [_mean(column, value, best.get(column) == name) for column, value in _means(results, arm).items()]
        for at, language in enumerate(results.languages):
            if interval := results.document_interval(name, arm.stages[-1], language):
                row[at] = Cell(text=row[at].text, note=formatting.interval(*interval, digits=2))
        seeds = max((value.n for value in arm.final_loss.values()), default=1)
        note = f"{seeds} seeds" if seeds > 1 else ""
        bodies.append(Body(name=name, style=styles[name], note=note, rows=[row + _cost(results, name)]))
    number, earlier = len(results.languages), results.forgettable
    groups = [("Loss after the last stage", number), ("Forgetting", len(earlier)), ("Mean loss", 2)]
    groups = [(title, columns) for title, columns in groups if columns]
    heads = [*results.languages, *earlier, "retained", "learned", "new", "replayed", "total", "FLOPs", "relative"]
    return Table(groups=[*groups, ("Training tokens", 3), ("Compute", 2)], heads=cells("Arm", *heads), bodies=bodies)


def _means(results: EvalAll, arm: ArmSummary) -> dict[str, SeedMean | None]:
    """By the columns that ``losses_by_seed`` has."""
    return {
        **{f"loss {language}": arm.final_loss.get(language) for language in results.languages},
        **{f"forgetting {language}": arm.forgetting.get(language) for language in results.forgettable},
        "retained": arm.retained_loss,
        "learned": arm.learned_loss,
    }


def _mean(column: str, value: SeedMean | None, best: bool) -> Cell:
    if value is None:
        return Cell(text=formatting.NONE)
    text = formatting.signed(value.mean) if column.startswith("forgetting") else formatting.loss(value.mean)
    return Cell(text=text, note=formatting.spread(value), kind="best" if best else "")


def _cost(results: EvalAll, name: str) -> list[Cell]:
    arm, relative = results.arms[name], results.relative_flops(name)
    amounts = [formatting.compact(amount) for amount in (arm.tokens.new, arm.tokens.replayed, arm.tokens.total)]
    times = formatting.times(relative) if relative else formatting.NONE
    return cells(*amounts, formatting.scientific(arm.flops), times)


def ledger(results: EvalAll, styles: Styles) -> Table:
    """A body for each arm: its stages, then their sum where there are several."""
    bodies = []
    for name, arm in results.arms.items():
        entries = [
            (stage, (entry.new_tokens, entry.replayed_tokens, entry.total_tokens), entry.flops)
            for stage, entry in results.ledgers(name).items()
        ]
        if len(entries) != 1:
            entries.append(("all", (arm.tokens.new, arm.tokens.replayed, arm.tokens.total), arm.flops))
        rows = [
            cells(stage, *map(formatting.count, amounts), formatting.scientific(flops))
            for stage, amounts, flops in entries
        ]
        bodies.append(Body(name=name, style=styles[name], rows=rows))
    return Table(heads=cells("Arm", "Stage", "New tokens", "Replayed", "Total", "FLOPs"), bodies=bodies, texts=2)


def interpolation(lines: Sequence[Line], styles: Styles) -> Table:
    """What MER's interpolation does to the cosine of gradients: a body for each arm, a row for each group of layers."""
    measured = [line for line in lines if line.windows]
    bodies = [
        Body(name=arm, style=styles[arm], rows=[_change(line) for line in measured if line.arm == arm])
        for arm in dict.fromkeys(line.arm for line in measured)
    ]
    return Table(heads=cells("Arm", "Layers", "Windows", "Before", "After", "Mean change"), bodies=bodies, texts=2)


def _change(line: Line) -> list[Cell]:
    before, after = fmean(window.before for window in line.windows), fmean(window.after for window in line.windows)
    name = "all weights" if line.series == ALL_WEIGHTS else line.series
    numbers = formatting.loss(before), formatting.loss(after), formatting.signed(after - before)
    return cells(name, formatting.count(len(line.windows)), *numbers)


def data(results: EvalAll) -> Table:
    """A row for each language: documents in, kept and dropped, tokens, and what a token costs."""
    heads = "Documents in", "Dropped", "Train", "Held out", "Train bytes", "Train tokens"
    return Table(
        heads=cells("Language", *heads, "Tokens per word", "Tokens per byte"),
        bodies=[Body(name=formatting.language(name), rows=[_data(entry)]) for name, entry in results.data.items()],
    )


def _data(entry: LanguageSummary) -> list[Cell]:
    lost, came = entry.documents_dropped, entry.documents_in
    return cells(
        formatting.count(came),
        f"{formatting.count(lost)} ({formatting.percent(lost / came)})" if came else formatting.NONE,
        formatting.count(entry.train.documents),
        formatting.count(entry.validation.documents),
        formatting.compact(entry.train.bytes),
        formatting.compact(entry.train.tokens),
        f"{entry.tokens_per_word:.2f}",
        f"{entry.tokens_per_byte:.3f}",
    )


def sources(results: EvalAll) -> Table:
    """A row for each source of each language: kind, licence, documents, tokens and their share of the language's."""
    bodies = []
    for language, entry in results.data.items():
        rows = [
            cells(
                name,
                source.kind,
                source.licence or "not stated",
                formatting.count(source.documents_in),
                formatting.compact(source.tokens),
                formatting.percent(source.share),
            )
            for name, source in entry.sources.items()
        ]
        bodies += [Body(name=formatting.language(language), rows=rows)] if rows else []
    heads = "Language", "Source", "Kind", "Licence", "Documents in", "Train tokens", "Share"
    return Table(heads=cells(*heads), bodies=bodies, texts=4)


def data_notes(results: EvalAll) -> list[tuple[str, str]]:
    """By language, what was done to the text or not read: personal data that was masked, and corrupt files."""
    found = []
    for language, entry in results.data.items():
        if masked := {kind: count for kind, count in entry.masked.items() if count}:
            listed = ", ".join(f"{kind} {formatting.count(count)}" for kind, count in masked.items())
            found.append((formatting.language(language), f"masked personal data: {listed}"))
        for file in entry.bad_files:
            found.append((formatting.language(language), f"corrupt file {file.source}/{file.name}: {file.problem}"))
    return found


def has_intervals(results: EvalAll) -> bool:
    """Whether some loss of the headline table has an interval over documents."""
    return any(
        results.document_interval(name, arm.stages[-1], language)
        for name, arm in results.arms.items()
        for language in arm.final_loss
    )
