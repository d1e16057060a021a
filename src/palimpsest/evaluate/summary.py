"""From the evaluations of single checkpoints to the figures of an arm: means over seeds and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from palimpsest.artifact import Manifest
from palimpsest.evaluate import metrics

Run = dict[str, Any]


def ancestors(lineage: str) -> list[str]:
    """The paths from the initial model to ``lineage``, which is a path whose every folder is a checkpoint."""
    parts = PurePosixPath(lineage).parts
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]


def row_name(lineage: str) -> str:
    """The row of the loss matrix that a checkpoint stands for: "init", a language, or "joint"."""
    parts = PurePosixPath(lineage).parts
    return "init" if len(parts) == 1 else parts[-1].split(".")[0].split("+")[0]


def describe_run(lineage: str, run: Manifest, losses: Mapping[str, Any], resamples: int) -> Run:
    """One checkpoint's entry in eval_all.json."""
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
    return {
        "nats_per_token": float(nats.sum() / tokens.sum()),
        "bits_per_byte": float(nats.sum() / np.log(2) / sum(columns["bytes"])),
        "tokens": int(tokens.sum()),
        "bytes": int(sum(columns["bytes"])),
        "documents": len(nats),
        "ci95": list(metrics.bootstrap_interval(nats, tokens, resamples)),
    }


def describe_arm(lineages: Mapping[str, str], runs: Mapping[str, Run]) -> dict[str, Any]:
    """An arm's entry in eval_all.json, from its last lineage by seed."""
    chains = [[runs[path] for path in ancestors(last)] for last in lineages.values()]
    loss = [{run["stage"]: _column(run, "nats_per_token") for run in chain} for chain in chains]
    bits = [{run["stage"]: _column(run, "bits_per_byte") for run in chain} for chain in chains]
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
        "retained_loss": _over_seeds([metrics.retained_loss(matrix) for matrix in loss]),
        "learned_loss": _over_seeds([metrics.learned_loss(matrix) for matrix in loss]) if staged else None,
        "tokens": {kind: sum(ledger[f"{kind}_tokens"] for ledger in ledgers) for kind in ("new", "replayed", "total")},
        "flops": sum(ledger["flops"] for ledger in ledgers),
        "lineages": {seed: ancestors(last) for seed, last in lineages.items()},
    }


def _column(run: Run, unit: str) -> dict[str, float]:
    return {language: loss[unit] for language, loss in run["loss"].items()}


def _over_seeds(values: Sequence[Any]) -> Any:
    """Numbers become {"mean", "sd", "n"}; dictionaries are gone through key by key."""
    if isinstance(values[0], dict):
        return {key: _over_seeds([value[key] for value in values]) for key in values[0]}
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": spread, "n": len(values)}
