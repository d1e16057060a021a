"""The CSV files beside eval_all.json: results/plots for plotting, results/tables with every table of the report.

Numbers are not rounded; what there is not (the forgetting of joint, a deviation of one seed) is left empty.
docs/formats.md lists the columns. A table without rows has its header.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.artifact import atomic_file, read_manifest
from palimpsest.evaluate.summary import Arms, ancestors, row_name
from palimpsest.train import metrics_log as training_metrics

Row = dict[str, Any]

_PLOTS = {
    "loss_curves": ("arm", "seed", "stage", "language", "step", "tokens", "loss"),
    "alignment": ("arm", "seed", "stage", "step", "tokens", "at", "group", "cosine"),
    "loss_matrix": ("arm", "stage", "language", "loss", "bits_per_byte"),
    "forgetting": ("arm", "language", "forgetting"),
    "ledger": ("arm", "stage", "new_tokens", "replayed_tokens", "total_tokens", "flops"),
}
_COUNTS = ("documents", "bytes", "tokens")
_SPLITS = ("train", "validation")
_SOURCE = ("kind", "licence", "documents_in", "documents", "tokens", "share")
_RATIOS = ("tokens_per_byte", "tokens_per_word")
_QUANTITY = ("mean", "sd", "n")
_LEDGER = (
    "steps", "new_sequences", "replayed_sequences", "new_tokens", "replayed_tokens", "total_tokens", "flops",
)  # fmt: skip


def write_plots(result: Mapping[str, Any], root: Path, arms: Arms) -> None:
    """results/plots, from the contents of eval_all.json and the metrics of the runs under ``root``."""
    rows = {
        "loss_curves": _loss_curves(root, arms),
        "alignment": _alignment(root, arms),
        "loss_matrix": _loss_matrix(result["arms"]),
        "forgetting": _forgetting(result["arms"]),
        "ledger": _ledgers(result, _PLOTS["ledger"][2:]),
    }
    for name, columns in _PLOTS.items():
        _write(root / "results" / "plots" / f"{name}.csv", columns, rows[name])


def write_tables(result: Mapping[str, Any], results: Path) -> None:
    """``results``/tables, from the contents of eval_all.json alone."""
    headline, data = list(_headline(result)), result["data"]
    tables: dict[str, tuple[Iterable[str], Iterable[Row]]] = {
        "headline": (headline[0], headline),
        "ledger": (("arm", "stage", *_LEDGER), _ledgers(result, _LEDGER)),
        "data": (_data_columns(), _data(data)),
        "sources": (("language", "source", *_SOURCE), _sources(data)),
        "dropped": (("language", "reason", "documents"), _dropped(data)),
        "tasks": (("arm", "stage", "task", "language", "metric", "chance", *_QUANTITY), _tasks(result)),
    }
    for name, (columns, rows) in tables.items():
        _write(results / "tables" / f"{name}.csv", columns, rows)


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """A training with its place in a chain: ``steps`` and ``tokens`` came before it."""

    place: Row
    lines: list[Row]
    settings: Mapping[str, Any]
    steps: int
    tokens: int
    total_tokens: int

    def at(self, line: Row) -> Row:
        """Where a line of the metrics stands, from the start of the lineage; a stage may end with a smaller batch."""
        seen = line["step"] * self.settings["batch_size"] * self.settings["context_length"]
        tokens = line.get("tokens", min(seen, self.total_tokens))
        return {"step": self.steps + line["step"], "tokens": self.tokens + tokens}


def _stages(root: Path, arms: Arms) -> Iterator[_Stage]:
    for arm, seeds in arms.items():
        for seed, last in seeds.items():
            steps = tokens = 0
            for path in ancestors(last)[1:]:
                run = read_manifest(root / "runs" / path, "run")
                ledger = run.counts["ledger"]
                yield _Stage(
                    place={"arm": arm, "seed": seed, "stage": row_name(path)},
                    lines=training_metrics.read(root / "runs" / path / "metrics.jsonl"),
                    settings=run.params["train"],
                    steps=steps,
                    tokens=tokens,
                    total_tokens=ledger["total_tokens"],
                )
                steps, tokens = steps + ledger["steps"], tokens + ledger["total_tokens"]


def _loss_curves(root: Path, arms: Arms) -> Iterator[Row]:
    for stage in _stages(root, arms):
        for line in stage.lines:
            for language, loss in line.get("validation", {}).items():
                yield stage.place | stage.at(line) | {"language": language, "loss": loss}


def _alignment(root: Path, arms: Arms) -> Iterator[Row]:
    for stage in _stages(root, arms):
        for line in stage.lines:
            for group, cosine in line.get("alignment", {}).items():
                yield stage.place | stage.at(line) | {"at": line["at"], "group": group, "cosine": cosine}


def _loss_matrix(summary: Mapping[str, Any]) -> Iterator[Row]:
    for arm, figures in summary.items():
        for stage, columns in figures["loss"].items():
            for language, loss in columns.items():
                bits = figures["bits_per_byte"][stage][language]["mean"]
                yield {
                    "arm": arm, "stage": stage, "language": language, "loss": loss["mean"], "bits_per_byte": bits,
                }  # fmt: skip


def _forgetting(summary: Mapping[str, Any]) -> Iterator[Row]:
    for arm, figures in summary.items():
        for language, value in figures["forgetting"].items():
            yield {"arm": arm, "language": language, "forgetting": value["mean"]}


def _ledgers(result: Mapping[str, Any], kinds: Iterable[str]) -> Iterator[Row]:
    for arm, figures in result["arms"].items():
        for path in next(iter(figures["lineages"].values()))[1:]:
            run = result["runs"][path]
            yield {"arm": arm, "stage": run["stage"]} | {kind: run["ledger"][kind] for kind in kinds}


def _headline(result: Mapping[str, Any]) -> Iterator[Row]:
    """An arm a row: the last row of its matrix, what it forgot, and what it cost."""
    languages = result["languages"]
    for arm, figures in result["arms"].items():
        row: Row = {"arm": arm, "seeds": len(figures["lineages"])}
        for language in languages:
            row |= _spread(f"loss_{language}", figures["loss"][figures["stages"][-1]][language])
        for language in languages[:-1]:
            row |= _spread(f"forgetting_{language}", figures["forgetting"].get(language))
        for name in ("retained_loss", "learned_loss"):
            row |= _spread(name, figures[name])
        yield (
            row | {f"{kind}_tokens": number for kind, number in figures["tokens"].items()} | {"flops": figures["flops"]}
        )


def _spread(name: str, quantity: Mapping[str, Any] | None) -> Row:
    return {name: quantity and quantity["mean"], f"{name}_sd": quantity and quantity["sd"]}


def _data(data: Mapping[str, Any]) -> Iterator[Row]:
    for language, found in data.items():
        row = {"language": language, "documents_in": found["documents_in"]}
        row |= {name: sum(found[name].values()) for name in ("dropped", "masked")}
        row |= {f"{split}_{count}": found[split][count] for split in _SPLITS for count in _COUNTS}
        yield row | {ratio: found[ratio] for ratio in _RATIOS}


def _data_columns() -> list[str]:
    splits = [f"{split}_{count}" for split in _SPLITS for count in _COUNTS]
    return ["language", "documents_in", "dropped", "masked", *splits, *_RATIOS]


def _sources(data: Mapping[str, Any]) -> Iterator[Row]:
    for language, found in data.items():
        for name, source in found["sources"].items():
            yield {"language": language, "source": name} | {key: source[key] for key in _SOURCE}


def _dropped(data: Mapping[str, Any]) -> Iterator[Row]:
    for language, found in data.items():
        for reason, documents in found["dropped"].items():
            yield {"language": language, "reason": reason, "documents": documents}


def _tasks(result: Mapping[str, Any]) -> Iterator[Row]:
    for arm, figures in result["arms"].items():
        for stage, scores in figures["tasks"].items():
            for task, quantity in scores.items():
                yield {"arm": arm, "stage": stage, "task": task} | result["tasks"][task] | quantity


def _write(path: Path, columns: Iterable[str], rows: Iterable[Row]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())
