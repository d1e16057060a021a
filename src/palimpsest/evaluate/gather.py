"""All checkpoints together: results/eval_all.json, its short form for ``dvc metrics``, the tables for plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from palimpsest.artifact import atomic_file, read_json, read_manifest, write_json
from palimpsest.evaluate.summary import Run, ancestors, describe_arm, describe_run, row_name
from palimpsest.train import metrics as training_metrics

Arms = Mapping[str, Mapping[str, str]]


def build(spec: dict[str, Any], root: Path) -> None:
    """Write results/ under ``root`` for a ``spec`` {"params", "arms": arm → seed → last lineage}."""
    params = spec["params"]
    arms = {arm: spec["arms"][arm] for arm in params["arms"]}
    runs = _read_runs(root, arms, params["evaluate"]["bootstrap"])
    for arm, seeds in arms.items():
        for path in {path for last in seeds.values() for path in ancestors(last)}:
            runs[path]["arms"].append(arm)
    summary = {arm: describe_arm(seeds, runs) for arm, seeds in arms.items()}
    results = root / "results"
    _write_table(results / "plots" / "loss_curves.csv", _loss_curves(root, arms))
    _write_table(results / "plots" / "loss_matrix.csv", _loss_matrix(summary))
    _write_table(results / "plots" / "forgetting.csv", _forgetting(summary))
    _write_table(results / "plots" / "ledger.csv", _ledger(summary, runs))
    write_json(results / "metrics.json", {arm: _short(figures) for arm, figures in summary.items()})
    sources = [source for given in params["corpus"]["sources"].values() for source in given]
    write_json(
        results / "eval_all.json",
        {
            "format": "palimpsest.eval_all/1",
            "sample": any(source["kind"] == "sample" for source in sources),
            "params": params,
            "languages": params["languages"],
            "arms": summary,
            "runs": runs,
            "data": {language: _data(root, language, params) for language in params["languages"]},
        },
    )


def build_sweep(spec: dict[str, Any], root: Path) -> None:
    """Write results/sweep.json: for every point of the sweep its values and the figures of its arms."""
    points = []
    for point in spec["points"]:
        runs = _read_runs(root, point["arms"], spec["bootstrap"])
        figures = {arm: describe_arm(seeds, runs) for arm, seeds in point["arms"].items()}
        points.append({"values": point["values"], "arms": figures})
    write_json(root / "results" / "sweep.json", {"format": "palimpsest.sweep/1", "points": points})


def _read_runs(root: Path, arms: Arms, resamples: int) -> dict[str, Run]:
    paths = {path for seeds in arms.values() for last in seeds.values() for path in ancestors(last)}
    runs = {}
    for path in sorted(paths):
        evaluation = read_manifest(root / "results" / "evaluation" / path, "evaluation")
        columns = read_json(evaluation.folder / "losses.json")
        losses = {language: columns[language] for language in evaluation.params["languages"]}
        runs[path] = describe_run(path, read_manifest(root / "runs" / path, "run"), losses, resamples)
    return runs


def _data(root: Path, language: str, params: dict[str, Any]) -> dict[str, Any]:
    raw, corpus, tokens = (
        read_manifest(root / "data" / stage / language, stage).counts for stage in ("raw", "corpus", "tokens")
    )
    fertility = read_manifest(root / "data" / "tokenizer", "tokenizer").counts["fertility"][language]
    return {
        "sources": {
            source["name"]: {
                "kind": source["kind"],
                "licence": raw["sources"][source["name"]]["licence"],
                "documents_in": corpus["sources"][source["name"]]["documents_in"],
                "documents": corpus["sources"][source["name"]]["train"]["documents"],
                **{key: tokens["sources"][source["name"]][key] for key in ("tokens", "share")},
            }
            for source in params["corpus"]["sources"][language]
        },
        **{key: corpus[key] for key in ("documents_in", "dropped", "masked", "bad_files")},
        "train": tokens["train"],
        "validation": tokens["validation"],
        **fertility,
    }


def _short(figures: Mapping[str, Any]) -> dict[str, Any]:
    last = figures["loss"][figures["stages"][-1]]
    return {
        "loss": {language: round(loss["mean"], 4) for language, loss in last.items()},
        "forgetting": {language: round(value["mean"], 4) for language, value in figures["forgetting"].items()},
        "retained_loss": round(figures["retained_loss"]["mean"], 4),
        **({"learned_loss": round(figures["learned_loss"]["mean"], 4)} if figures["learned_loss"] else {}),
        "tokens": figures["tokens"]["total"],
        "flops": figures["flops"],
    }


def _loss_curves(root: Path, arms: Arms) -> Iterator[dict[str, Any]]:
    for arm, seeds in arms.items():
        for seed, last in seeds.items():
            steps = tokens = 0
            for path in ancestors(last)[1:]:
                ledger = read_manifest(root / "runs" / path, "run").counts["ledger"]
                for line in training_metrics.read(root / "runs" / path / "metrics.jsonl"):
                    for language, loss in line.get("validation", {}).items():
                        place = {"step": steps + line["step"], "tokens": tokens + line["tokens"]}
                        yield (
                            {"arm": arm, "seed": seed, "stage": row_name(path), "language": language}
                            | place
                            | {"loss": loss}
                        )
                steps, tokens = steps + ledger["steps"], tokens + ledger["total_tokens"]


def _loss_matrix(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for arm, figures in summary.items():
        for stage, columns in figures["loss"].items():
            for language, loss in columns.items():
                bits = figures["bits_per_byte"][stage][language]["mean"]
                yield {
                    "arm": arm, "stage": stage, "language": language, "loss": loss["mean"], "bits_per_byte": bits,
                }  # fmt: skip


def _forgetting(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for arm, figures in summary.items():
        for language, value in figures["forgetting"].items():
            yield {"arm": arm, "language": language, "forgetting": value["mean"]}


def _ledger(summary: Mapping[str, Any], runs: Mapping[str, Run]) -> Iterator[dict[str, Any]]:
    kinds = ("new_tokens", "replayed_tokens", "total_tokens", "flops")
    for arm, figures in summary.items():
        for path in next(iter(figures["lineages"].values()))[1:]:
            yield {"arm": arm, "stage": runs[path]["stage"]} | {kind: runs[path]["ledger"][kind] for kind in kinds}


def _write_table(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0] if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())
