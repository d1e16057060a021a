"""All checkpoints together: results/eval_all.json, its short form for ``dvc metrics``, and the tables beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palimpsest.artifact import read_manifest, write_json
from palimpsest.evaluate.summary import Arms, ancestors, describe_arm, read_runs, read_tasks
from palimpsest.evaluate.tables import write_plots, write_tables


def build(spec: dict[str, Any], root: Path) -> None:
    """Write results/ under ``root`` for a ``spec`` {"params", "arms": arm → seed → last lineage}."""
    params = spec["params"]
    arms = {arm: spec["arms"][arm] for arm in params["arms"]}
    asked = params["evaluate"]
    runs = read_runs(root, arms, resamples=asked["bootstrap"], tasks=bool(asked["tasks"]))
    for arm, seeds in arms.items():
        for path in {path for last in seeds.values() for path in ancestors(last)}:
            runs[path]["arms"].append(arm)
    summary = {arm: describe_arm(seeds, runs) for arm, seeds in arms.items()}
    sources = [source for given in params["corpus"]["sources"].values() for source in given]
    result = {
        "format": "palimpsest.eval_all/1",
        "sample": any(source["kind"] == "sample" for source in sources),
        "params": params,
        "languages": params["languages"],
        "tasks": _tasks(root, arms) if asked["tasks"] else {},
        "arms": summary,
        "runs": runs,
        "data": {language: _data(root, language, params) for language in params["languages"]},
    }
    results = root / "results"
    write_plots(result, root, arms)
    write_tables(result, results)
    write_json(results / "metrics.json", {arm: _short(figures) for arm, figures in summary.items()})
    write_json(results / "eval_all.json", result)


def _tasks(root: Path, arms: Arms) -> dict[str, Any]:
    """What the tasks are; all checkpoints were asked the same."""
    any_lineage = next(iter(next(iter(arms.values())).values()))
    found = read_tasks(root, any_lineage)
    return {task: {key: entry[key] for key in ("language", "metric", "chance")} for task, entry in found.items()}


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
        **({"tasks": _last_scores(figures)} if figures["tasks"] else {}),
        "tokens": figures["tokens"]["total"],
        "flops": figures["flops"],
    }


def _last_scores(figures: Mapping[str, Any]) -> dict[str, float]:
    return {task: round(score["mean"], 4) for task, score in figures["tasks"][figures["stages"][-1]].items()}
