"""Stage sweep: results/sweep.json, the values and the results of every arm and seed at every point of the sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from palimpsest.evaluate import continual_metrics
from palimpsest.evaluate.arm_summary import summarise_arm
from palimpsest.evaluate.evaluated_checkpoint import (
    EvaluatedCheckpoint,
    ancestors,
    final_lineages,
    loss_matrix,
    read_checkpoints,
)
from palimpsest.evaluate.results.sweep_results import SweepPointResults, SweepResults, SweepRun, write_sweep_results
from palimpsest.specs.evaluation import SweepPoint, SweepSpec


def gather_sweep(spec: SweepSpec, root: Path) -> None:
    """Write results/sweep.json under ``root``, which has runs/ and results/evaluation/.

    Raises ArtifactError naming the folder of a checkpoint that was not evaluated.
    """
    # Points share most of their checkpoints, so each is read once.
    final = [last for point in spec.points for last in final_lineages(point.arms)]
    checkpoints = read_checkpoints(root, final)
    points = [_point(point, checkpoints) for point in spec.points]
    write_sweep_results(root / "results" / "sweep.json", SweepResults(points=tuple(points)))


def _point(point: SweepPoint, checkpoints: Mapping[str, EvaluatedCheckpoint]) -> SweepPointResults:
    return SweepPointResults(
        values=point.values,
        arms={arm: summarise_arm(seeds, checkpoints) for arm, seeds in point.arms.items()},
        runs={
            arm: {seed: _run(last, checkpoints) for seed, last in seeds.items()} for arm, seeds in point.arms.items()
        },
    )


def _run(last: str, checkpoints: Mapping[str, EvaluatedCheckpoint]) -> SweepRun:
    """One seed of an arm over all its stages; ``last`` is its final lineage."""
    chain = [checkpoints[path] for path in ancestors(last)]
    losses = loss_matrix(chain)
    by_stages = "joint" not in losses
    replays = [checkpoint.replay for checkpoint in chain[2:]]  # the first stage has no past to replay
    return SweepRun(
        lineage=last,
        retained_loss=continual_metrics.retained_loss(losses),
        learned_loss=continual_metrics.learned_loss(losses) if by_stages else None,
        forgetting=continual_metrics.forgetting(losses) if by_stages else {},
        flops=sum(checkpoint.ledger.flops for checkpoint in chain if checkpoint.ledger),
        parameters=chain[-1].parameters,
        flops_per_token=chain[-1].training_flops_per_token,
        rate=_mean_rate([float(replay.rate) if replay else 0.0 for replay in replays]),
        accounting=next((replay.accounting for replay in replays if replay), None),
    )


def _mean_rate(rates: Sequence[float]) -> float:
    """The mean; of equal rates it is exactly that rate, which summing floats does not guarantee."""
    return rates[0] if len(set(rates)) == 1 else sum(rates) / max(1, len(rates))
