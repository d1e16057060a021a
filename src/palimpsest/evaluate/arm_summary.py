"""An arm over its seeds: means and spread of losses, forgetting, transfer and task scores.

Computes the ``arms`` entries of eval_all.json. To add a metric of a whole lineage, such as forgetting: write its
formula in continual_metrics.py, call it in ``summarise_arm``, and add its field to ``ArmSummary`` in
results/eval_all.py. For a metric of a single checkpoint see evaluated_checkpoint.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from palimpsest.evaluate import continual_metrics
from palimpsest.evaluate.evaluated_checkpoint import EvaluatedCheckpoint, ancestors, loss_matrix
from palimpsest.evaluate.results.eval_all import ArmSummary, TokenTotals
from palimpsest.evaluate.results.seed_mean import SeedMean, seed_mean

Matrix = Mapping[str, Mapping[str, float]]


def summarise_arm(lineages: Mapping[str, str], checkpoints: Mapping[str, EvaluatedCheckpoint]) -> ArmSummary:
    """The arm's entry in eval_all.json. ``lineages``: seed → final lineage.

    Tokens and FLOPs are those of the first seed: seeds differ in the order of the data, not in its amount.
    """
    chains = [[checkpoints[path] for path in ancestors(last)] for last in lineages.values()]
    loss = [loss_matrix(chain) for chain in chains]
    bits = [{checkpoint.stage: checkpoint.bits_per_byte for checkpoint in chain} for chain in chains]
    # Joint training has one stage for all languages, so there is nothing to forget and no stage per language.
    by_stages = [] if "joint" in loss[0] else loss
    ledgers = [checkpoint.ledger for checkpoint in chains[0] if checkpoint.ledger]
    return ArmSummary(
        stages=tuple(loss[0]),
        loss=_matrix_over_seeds(loss),
        bits_per_byte=_matrix_over_seeds(bits),
        forgetting=_over_seeds([continual_metrics.forgetting(matrix) for matrix in by_stages]),
        backward_transfer=_over_seeds([continual_metrics.backward_transfer(matrix) for matrix in by_stages]),
        forward_transfer=_over_seeds([continual_metrics.forward_transfer(matrix) for matrix in by_stages]),
        retained_loss=seed_mean([continual_metrics.retained_loss(matrix) for matrix in loss]),
        learned_loss=seed_mean([continual_metrics.learned_loss(matrix) for matrix in by_stages]) if by_stages else None,
        tasks=_matrix_over_seeds([_task_scores(chain) for chain in chains]),
        tokens=TokenTotals(
            new=sum(ledger.new_tokens for ledger in ledgers),
            replayed=sum(ledger.replayed_tokens for ledger in ledgers),
            total=sum(ledger.total_tokens for ledger in ledgers),
        ),
        flops=sum(ledger.flops for ledger in ledgers),
        lineages={seed: tuple(ancestors(last)) for seed, last in lineages.items()},
    )


def _task_scores(chain: Sequence[EvaluatedCheckpoint]) -> Matrix:
    """Stage → task → score; {} if no tasks were run."""
    return {
        checkpoint.stage: {name: result.value for name, result in checkpoint.tasks.items()}
        for checkpoint in chain
        if checkpoint.tasks
    }


def _over_seeds(seeds: Sequence[Mapping[str, float]]) -> dict[str, SeedMean]:
    return {key: seed_mean([values[key] for values in seeds]) for key in (seeds[0] if seeds else ())}


def _matrix_over_seeds(seeds: Sequence[Matrix]) -> dict[str, dict[str, SeedMean]]:
    return {row: _over_seeds([matrix[row] for matrix in seeds]) for row in seeds[0]}
