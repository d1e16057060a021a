"""From the evaluations of single checkpoints to the figures of an arm: means over seeds and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from palimpsest.artifact import Manifest, read_json, read_manifest
from palimpsest.evaluate import metrics

Run = dict[str, Any]
Arms = Mapping[str, Mapping[str, str]]


def ancestors(lineage: str) -> list[str]:
    """The paths from the initial model to ``lineage``, which is a path whose every folder is a checkpoint."""
    parts = PurePosixPath(lineage).parts
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]


def row_name(lineage: str) -> str:
    """The row of the loss matrix that a checkpoint stands for: "init", a language, or "joint"."""
    parts = PurePosixPath(lineage).parts
    return "init" if len(parts) == 1 else parts[-1].split(".")[0].split("+")[0]


def read_runs(root: Path, arms: Arms, *, resamples: int = 0, tasks: bool = False) -> dict[str, Run]:
    """The entry in eval_all.json of every checkpoint of ``arms`` (arm → seed → last lineage), by path.

    ``root`` holds runs/ and results/. ``resamples``: of the documents, for ``ci95`` of the losses, which is left out
    with 0. ``tasks``: whether zero-shot tasks were asked for; else results/tasks/ is not looked at. Raises
    ArtifactError naming the folder where a checkpoint was not evaluated.
    """
    paths = {path for seeds in arms.values() for last in seeds.values() for path in ancestors(last)}
    return {path: _read_run(root, path, resamples, tasks) for path in sorted(paths)}


def _read_run(root: Path, path: str, resamples: int, tasks: bool) -> Run:
    evaluation = read_manifest(root / "results" / "evaluation" / path, "evaluation")
    columns = read_json(evaluation.folder / "losses.json")
    losses = {language: columns[language] for language in evaluation.params["languages"]}
    # Not written where no tokens were asked for.
    samples = read_json(evaluation.folder / "samples.json") if "samples.json" in evaluation.files else {}
    found = read_tasks(root, path) if tasks else {}
    scores = {task: {key: entry[key] for key in ("value", "stderr", "documents")} for task, entry in found.items()}
    run = describe_run(path, read_manifest(root / "runs" / path, "run"), losses, resamples)
    return run | {"tasks": scores, "samples": samples}


def read_tasks(root: Path, lineage: str) -> dict[str, dict[str, Any]]:
    """A checkpoint's tasks.json; docs/formats.md says what an entry holds."""
    folder = read_manifest(root / "results" / "tasks" / lineage, "tasks").folder
    tasks: dict[str, dict[str, Any]] = read_json(folder / "tasks.json")
    return tasks


def describe_run(lineage: str, run: Manifest, losses: Mapping[str, Any], resamples: int) -> Run:
    """One checkpoint's entry in eval_all.json, but for its tasks and samples."""
    parent = ancestors(lineage)[:-1]
    return {
        "stage": row_name(lineage),
        "seed": run.params["seed"],
        "parent": parent[-1] if parent else None,
        "parameters": run.counts["parameters"],
        "replay": run.params.get("replay"),
        "mer": run.params.get("mer"),
        "ledger": run.counts.get("ledger"),
        "loss": {language: _describe_loss(columns, resamples) for language, columns in losses.items()},
        "arms": [],
    }


def _describe_loss(columns: Mapping[str, list[float]], resamples: int) -> dict[str, Any]:
    nats, tokens = np.array(columns["nats"]), np.array(columns["tokens"])
    figures = {
        "nats_per_token": float(nats.sum() / tokens.sum()),
        "bits_per_byte": float(nats.sum() / np.log(2) / sum(columns["bytes"])),
        "tokens": int(tokens.sum()),
        "bytes": int(sum(columns["bytes"])),
        "documents": len(nats),
    }
    return figures | ({"ci95": list(metrics.bootstrap_interval(nats, tokens, resamples))} if resamples else {})


def describe_arm(lineages: Mapping[str, str], runs: Mapping[str, Run]) -> dict[str, Any]:
    """An arm's entry in eval_all.json, from its last lineage by seed."""
    chains = [[runs[path] for path in ancestors(last)] for last in lineages.values()]
    loss = [matrix(chain) for chain in chains]
    bits = [matrix(chain, "bits_per_byte") for chain in chains]
    tasks = [{run["stage"]: _scores(run) for run in chain if run["tasks"]} for chain in chains]
    staged = "joint" not in loss[0]
    per_language: dict[str, Callable[[metrics.Matrix], dict[str, float]]] = {
        "forgetting": metrics.forgetting,
        "backward_transfer": metrics.backward_transfer,
        "forward_transfer": metrics.forward_transfer,
    }
    ledgers = [run["ledger"] for run in chains[0] if run["ledger"]]
    return {
        "stages": list(loss[0]),
        "loss": _over_seeds(loss),
        "bits_per_byte": _over_seeds(bits),
        **{name: _over_seeds([function(m) for m in loss]) if staged else {} for name, function in per_language.items()},
        "retained_loss": _over_seeds([metrics.retained_loss(m) for m in loss]),
        "learned_loss": _over_seeds([metrics.learned_loss(m) for m in loss]) if staged else None,
        "tokens": {kind: sum(ledger[f"{kind}_tokens"] for ledger in ledgers) for kind in ("new", "replayed", "total")},
        "flops": sum(ledger["flops"] for ledger in ledgers),
        "lineages": {seed: ancestors(last) for seed, last in lineages.items()},
        "tasks": _over_seeds(tasks),
    }


def matrix(chain: Sequence[Run], unit: str = "nats_per_token") -> metrics.Matrix:
    """The loss matrix of a lineage, from the entries of its checkpoints in order."""
    return {run["stage"]: {language: loss[unit] for language, loss in run["loss"].items()} for run in chain}


def _scores(run: Run) -> dict[str, float]:
    return {task: score["value"] for task, score in run["tasks"].items()}


def _over_seeds(values: Sequence[Any]) -> Any:
    """Numbers become {"mean", "sd", "n"}; dictionaries are gone through key by key."""
    if isinstance(values[0], dict):
        return {key: _over_seeds([value[key] for value in values]) for key in values[0]}
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": spread, "n": len(values)}
