"""results/sweep.json: for every point of the sweep its values and what every arm and every seed came to there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palimpsest.artifact import read_manifest, write_json
from palimpsest.evaluate import metrics
from palimpsest.evaluate.summary import Run, ancestors, describe_arm, matrix, read_runs

FORMAT = "palimpsest.sweep/2"


def build_sweep(spec: dict[str, Any], root: Path) -> None:
    """Write results/sweep.json for a ``spec`` {"points": [{"values", "arms": arm → seed → last lineage}]}.

    ``root`` holds runs/ and results/evaluation/. Raises ArtifactError naming the folder of a checkpoint that is not
    there.
    """
    points = [_point(point["values"], point["arms"], root) for point in spec["points"]]
    write_json(root / "results" / "sweep.json", {"format": FORMAT, "points": points})


def _point(values: Any, arms: Mapping[str, Mapping[str, str]], root: Path) -> dict[str, Any]:
    runs = read_runs(root, arms)
    return {
        "values": values,
        "arms": {arm: describe_arm(seeds, runs) for arm, seeds in arms.items()},
        "runs": {
            arm: {seed: _figures(last, runs, root) for seed, last in seeds.items()} for arm, seeds in arms.items()
        },
    }


def _figures(last: str, runs: Mapping[str, Run], root: Path) -> dict[str, Any]:
    """One seed of an arm, over all its stages; ``last`` is its last lineage."""
    chain = [runs[path] for path in ancestors(last)]
    losses = matrix(chain)
    staged = "joint" not in losses
    return {
        "lineage": last,
        "retained_loss": metrics.retained_loss(losses),
        "learned_loss": metrics.learned_loss(losses) if staged else None,
        "forgetting": metrics.forgetting(losses) if staged else {},
        "flops": sum(run["ledger"]["flops"] for run in chain if run["ledger"]),
        "parameters": chain[-1]["parameters"],
        "flops_per_token": read_manifest(root / "runs" / last, "run").counts["training_flops_per_token"],
        **_replay(chain),
    }


def _replay(chain: Sequence[Run]) -> dict[str, Any]:
    """The rate of the stages that have a past, their mean where ``replay.rates`` sets several, and its accounting."""
    settings = [run["replay"] for run in chain[2:]]
    rates = [float(setting["rate"]) if setting else 0.0 for setting in settings]
    accountings = [setting["accounting"] for setting in settings if setting]
    return {
        # The mean of equal rates is that rate to the last bit only if nothing is added up.
        "rate": rates[0] if len(set(rates)) == 1 else sum(rates) / max(1, len(rates)),
        "accounting": accountings[0] if accountings else None,
    }
