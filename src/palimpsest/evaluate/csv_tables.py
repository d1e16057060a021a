"""The CSV files beside eval_all.json: results/plots for plotting, results/tables with every table of the report.

Numbers are not rounded; a value that does not exist (the forgetting of joint, the deviation of one seed) is an empty
cell. A table without rows still has its header. docs/formats.md lists the columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from palimpsest.artifact import atomic_file, read_manifest
from palimpsest.evaluate.evaluated_checkpoint import ancestors, stage_name
from palimpsest.evaluate.results.dataset_summary import LanguageSummary
from palimpsest.evaluate.results.eval_all import ArmSummary, EvalAll
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.specs.evaluation import FinalCheckpoints
from palimpsest.train.metrics import AlignmentRecord, MetricsRecord, ValidationRecord, read_metrics
from palimpsest.train.run_counts import RunCounts, read_counts

Row = dict[str, Any]
"""Column → value, ready for csv."""

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
_SEED_MEAN = ("mean", "sd", "n")
_LEDGER = (
    "steps", "new_sequences", "replayed_sequences", "new_tokens", "replayed_tokens", "total_tokens", "flops",
)  # fmt: skip


def write_plots(results: EvalAll, root: Path, arms: FinalCheckpoints) -> None:
    """Write results/plots from the contents of eval_all.json and the metrics.jsonl files under ``root``/runs."""
    rows = {
        "loss_curves": _loss_curves(root, arms),
        "alignment": _alignment(root, arms),
        "loss_matrix": _loss_matrix(results.arms),
        "forgetting": _forgetting(results.arms),
        "ledger": _ledgers(results, _PLOTS["ledger"][2:]),
    }
    for name, columns in _PLOTS.items():
        _write(root / "results" / "plots" / f"{name}.csv", columns, rows[name])


def write_tables(results: EvalAll, folder: Path) -> None:
    """Write ``folder`` (results/tables) from the contents of eval_all.json alone."""
    headline = list(_headline(results))
    tables: dict[str, tuple[Iterable[str], Iterable[Row]]] = {
        "headline": (headline[0], headline),
        "ledger": (("arm", "stage", *_LEDGER), _ledgers(results, _LEDGER)),
        "data": (_data_columns(), _data(results.data)),
        "sources": (("language", "source", *_SOURCE), _sources(results.data)),
        "dropped": (("language", "reason", "documents"), _dropped(results.data)),
        "tasks": (("arm", "stage", "task", "language", "metric", "chance", *_SEED_MEAN), _tasks(results)),
    }
    for name, (columns, rows) in tables.items():
        _write(folder / f"{name}.csv", columns, rows)


@dataclass(frozen=True, kw_only=True)
class _StageLog:
    """The metrics.jsonl of one stage, with the steps and tokens of the stages before it."""

    columns: Row
    records: list[MetricsRecord]
    tokens_per_step: int
    total_tokens: int
    steps_before: int
    tokens_before: int

    def position(self, record: MetricsRecord) -> Row:
        """Step and tokens from the start of the lineage; the last batch of a stage may be short."""
        tokens = min(record.step * self.tokens_per_step, self.total_tokens)
        return {"step": self.steps_before + record.step, "tokens": self.tokens_before + tokens}


def _stage_logs(root: Path, arms: FinalCheckpoints) -> Iterator[_StageLog]:
    for arm, seeds in arms.items():
        for seed, last in seeds.items():
            steps = tokens = 0
            for lineage in ancestors(last)[1:]:
                manifest = read_manifest(root / "runs" / lineage, "run")
                counts, settings = read_counts(manifest), manifest.params["train"]
                assert isinstance(counts, RunCounts), "only the initial model was not trained"
                ledger = counts.ledger
                yield _StageLog(
                    columns={"arm": arm, "seed": seed, "stage": stage_name(lineage)},
                    records=list(read_metrics(root / "runs" / lineage / "metrics.jsonl")),
                    tokens_per_step=settings["batch_size"] * settings["context_length"],
                    total_tokens=ledger.total_tokens,
                    steps_before=steps,
                    tokens_before=tokens,
                )
                steps, tokens = steps + ledger.steps, tokens + ledger.total_tokens


def _loss_curves(root: Path, arms: FinalCheckpoints) -> Iterator[Row]:
    for log in _stage_logs(root, arms):
        for record in log.records:
            if not isinstance(record, ValidationRecord):
                continue
            for language, loss in record.validation.items():
                yield log.columns | log.position(record) | {"language": language, "loss": loss}


def _alignment(root: Path, arms: FinalCheckpoints) -> Iterator[Row]:
    for log in _stage_logs(root, arms):
        for record in log.records:
            if not isinstance(record, AlignmentRecord):
                continue
            for group, cosine in record.alignment.items():
                yield log.columns | log.position(record) | {"at": record.at, "group": group, "cosine": cosine}


def _loss_matrix(arms: Mapping[str, ArmSummary]) -> Iterator[Row]:
    for arm, summary in arms.items():
        for stage, losses in summary.loss.items():
            for language, loss in losses.items():
                bits = summary.bits_per_byte[stage][language].mean
                yield {"arm": arm, "stage": stage, "language": language, "loss": loss.mean, "bits_per_byte": bits}


def _forgetting(arms: Mapping[str, ArmSummary]) -> Iterator[Row]:
    for arm, summary in arms.items():
        for language, value in summary.forgetting.items():
            yield {"arm": arm, "language": language, "forgetting": value.mean}


def _ledgers(results: EvalAll, columns: Iterable[str]) -> Iterator[Row]:
    for arm in results.arms:
        for stage, ledger in results.ledgers(arm).items():
            yield {"arm": arm, "stage": stage} | {column: getattr(ledger, column) for column in columns}


def _headline(results: EvalAll) -> Iterator[Row]:
    """One row per arm: the last row of its loss matrix, its forgetting, and its cost."""
    for arm, summary in results.arms.items():
        row: Row = {"arm": arm, "seeds": len(summary.lineages)}
        for language in results.languages:
            row |= _mean_and_sd(f"loss_{language}", summary.final_loss[language])
        for language in results.languages[:-1]:
            row |= _mean_and_sd(f"forgetting_{language}", summary.forgetting.get(language))
        row |= _mean_and_sd("retained_loss", summary.retained_loss)
        row |= _mean_and_sd("learned_loss", summary.learned_loss)
        tokens = {f"{kind}_tokens": number for kind, number in asdict(summary.tokens).items()}
        yield row | tokens | {"flops": summary.flops}


def _mean_and_sd(name: str, value: SeedMean | None) -> Row:
    return {name: value and value.mean, f"{name}_sd": value and value.sd}


def _data(data: Mapping[str, LanguageSummary]) -> Iterator[Row]:
    for language, summary in data.items():
        row: Row = {
            "language": language,
            "documents_in": summary.documents_in,
            "dropped": summary.documents_dropped,
            "masked": sum(summary.masked.values()),
        }
        for split, counts in (("train", summary.train), ("validation", summary.validation)):
            row |= {f"{split}_{name}": getattr(counts, name) for name in _COUNTS}
        yield row | {"tokens_per_byte": summary.tokens_per_byte, "tokens_per_word": summary.tokens_per_word}


def _data_columns() -> list[str]:
    splits = [f"{split}_{count}" for split in _SPLITS for count in _COUNTS]
    return ["language", "documents_in", "dropped", "masked", *splits, "tokens_per_byte", "tokens_per_word"]


def _sources(data: Mapping[str, LanguageSummary]) -> Iterator[Row]:
    for language, summary in data.items():
        for name, source in summary.sources.items():
            yield {"language": language, "source": name} | asdict(source)


def _dropped(data: Mapping[str, LanguageSummary]) -> Iterator[Row]:
    for language, summary in data.items():
        for reason, documents in summary.dropped.items():
            yield {"language": language, "reason": reason, "documents": documents}


def _tasks(results: EvalAll) -> Iterator[Row]:
    for arm, summary in results.arms.items():
        for stage, scores in summary.tasks.items():
            for task, score in scores.items():
                yield {"arm": arm, "stage": stage, "task": task} | asdict(results.tasks[task]) | asdict(score)


def _write(path: Path, columns: Iterable[str], rows: Iterable[Row]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())
