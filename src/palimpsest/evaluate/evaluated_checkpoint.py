"""A checkpoint with its evaluation, read from runs/ and results/.

Computes the ``runs`` entries of eval_all.json, one per checkpoint. To add a metric of a single checkpoint, compute it
here, set it in ``EvaluatedCheckpoint.summary``, and add its field to ``CheckpointSummary`` in results/eval_all.py. For
a metric of a whole lineage see arm_summary.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from palimpsest.artifact import Manifest, read_manifest
from palimpsest.codec import decode
from palimpsest.evaluate.continual_metrics import LossMatrix, bootstrap_interval
from palimpsest.evaluate.results.checkpoint_results import (
    CheckpointEvaluation,
    LanguageLosses,
    TaskResults,
    read_evaluation,
    read_task_results,
)
from palimpsest.evaluate.results.eval_all import (
    CheckpointSummary,
    HeldOutLoss,
    TaskScore,
)
from palimpsest.replay.stage_ledger import StageLedger
from palimpsest.settings.replay import Mer, ReplaySpec
from palimpsest.specs.evaluation import FinalCheckpoints
from palimpsest.train.run_counts import InitCounts, RunCounts, read_counts

T = TypeVar("T")


def ancestors(lineage: str) -> list[str]:
    """The lineages from the initial model to ``lineage`` itself: every folder of its path is a checkpoint."""
    parts = PurePosixPath(lineage).parts
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]


def final_lineages(arms: FinalCheckpoints) -> list[str]:
    """The final lineage of every seed of every arm."""
    return [last for seeds in arms.values() for last in seeds.values()]


def stage_name(lineage: str) -> str:
    """The row of a lineage in the loss matrix: "init", a language, or "joint"."""
    parts = PurePosixPath(lineage).parts
    return "init" if len(parts) == 1 else parts[-1].split(".")[0].split("+")[0]


@dataclass(frozen=True, kw_only=True)
class EvaluatedCheckpoint:
    """One checkpoint: its manifest, its evaluation and its zero-shot tasks (empty if none were run).

    ``lineage`` is its path under runs/, ``manifest`` that of its folder there.
    """

    lineage: str
    manifest: Manifest
    evaluation: CheckpointEvaluation
    tasks: TaskResults

    @property
    def stage(self) -> str:
        return stage_name(self.lineage)

    @cached_property
    def replay(self) -> ReplaySpec | None:
        return self._param(ReplaySpec, "replay")

    @cached_property
    def mer(self) -> Mer | None:
        return self._param(Mer, "mer")

    @cached_property
    def counts(self) -> InitCounts:
        return read_counts(self.manifest)

    @property
    def ledger(self) -> StageLedger | None:
        """None for the initial model."""
        return self.counts.ledger if isinstance(self.counts, RunCounts) else None

    @property
    def parameters(self) -> int:
        return self.counts.parameters

    @property
    def training_flops_per_token(self) -> int:
        return self.counts.training_flops_per_token

    @cached_property
    def nats_per_token(self) -> dict[str, float]:
        """Language → loss: the row of the checkpoint in the loss matrix."""
        return {language: _nats_per_token(losses) for language, losses in self.evaluation.losses.items()}

    @cached_property
    def bits_per_byte(self) -> dict[str, float]:
        """Language → loss, comparable across tokenizers."""
        return {language: _bits_per_byte(losses) for language, losses in self.evaluation.losses.items()}

    def summary(self, arms: Sequence[str], resamples: int) -> CheckpointSummary:
        """The checkpoint's entry in eval_all.json. ``resamples``: bootstrap resamples of documents for ``ci95``."""
        parents = ancestors(self.lineage)[:-1]
        return CheckpointSummary(
            arms=tuple(arms),
            seed=self.manifest.params["seed"],
            stage=self.stage,
            parent=parents[-1] if parents else None,
            parameters=self.parameters,
            replay=self.replay,
            mer=self.mer,
            ledger=self.ledger,
            loss={name: _held_out_loss(losses, resamples) for name, losses in self.evaluation.losses.items()},
            tasks={
                name: TaskScore(value=result.value, stderr=result.stderr, documents=result.documents)
                for name, result in self.tasks.items()
            },
            samples=self.evaluation.samples,
        )

    def _param(self, cls: type[T], name: str) -> T | None:
        found = self.manifest.params.get(name)
        return None if found is None else decode(cls, found, f"{self.manifest.folder}: {name}")


def read_checkpoints(root: Path, final: Iterable[str], *, tasks: bool = False) -> dict[str, EvaluatedCheckpoint]:
    """Lineage → checkpoint, for the ``final`` lineages and all their ancestors; ``root`` holds runs/ and results/.

    ``tasks``: whether zero-shot tasks were run; if not, results/tasks/ is not read. Raises ArtifactError naming the
    folder of a checkpoint that was not evaluated.
    """
    lineages = sorted({lineage for last in final for lineage in ancestors(last)})
    return {
        lineage: EvaluatedCheckpoint(
            lineage=lineage,
            evaluation=read_evaluation(root / "results" / "evaluation" / lineage),
            tasks=read_task_results(root / "results" / "tasks" / lineage) if tasks else {},
            manifest=read_manifest(root / "runs" / lineage, "run"),
        )
        for lineage in lineages
    }


def loss_matrix(chain: Sequence[EvaluatedCheckpoint]) -> LossMatrix:
    """Stage → language → nats per token, from the checkpoints of a lineage in order."""
    return {checkpoint.stage: checkpoint.nats_per_token for checkpoint in chain}


def _nats_per_token(losses: LanguageLosses) -> float:
    return float(np.array(losses.nats).sum() / np.array(losses.tokens).sum())


def _bits_per_byte(losses: LanguageLosses) -> float:
    return float(np.array(losses.nats).sum() / np.log(2) / sum(losses.bytes))


def _held_out_loss(losses: LanguageLosses, resamples: int) -> HeldOutLoss:
    nats, tokens = np.array(losses.nats), np.array(losses.tokens)
    return HeldOutLoss(
        nats_per_token=_nats_per_token(losses),
        bits_per_byte=_bits_per_byte(losses),
        tokens=int(tokens.sum()),
        bytes=sum(losses.bytes),
        documents=len(nats),
        ci95=bootstrap_interval(nats, tokens, resamples),
    )
