"""results/eval_all.json: every checkpoint, every arm over its seeds, and the text that they were trained on.

Losses are nats per token. docs/formats.md lists the keys, docs/metrics.md the formulas. The values of ``ArmSummary``
are computed in evaluate/arm_summary.py, those of ``CheckpointSummary`` in evaluate/evaluated_checkpoint.py. A
checkpoint is identified by its lineage, its path under runs/; the key ``runs`` maps lineages to checkpoints.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from palimpsest.artifact import write_json
from palimpsest.codec import encode
from palimpsest.evaluate.results.checkpoint_results import Sample
from palimpsest.evaluate.results.dataset_summary import LanguageSummary
from palimpsest.evaluate.results.results_file import read_results_file
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.replay.stage_ledger import StageLedger
from palimpsest.settings.replay import Mer, ReplaySpec

V = TypeVar("V")
PerLanguage = Mapping[str, SeedMean]
PerStage = Mapping[str, Mapping[str, SeedMean]]
"""Stage → language (or task) → mean over seeds."""

REFERENCE_ARM = "joint"  # trained on all languages at once: the upper bound, which cannot forget
BASE_ARM = "sequential"
_REMEDY = "run the evaluation again"


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A zero-shot task: its metric, its language, and the score of guessing."""

    language: str | None
    metric: str
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class TokenTotals:
    """Training tokens of all stages of one seed."""

    new: int
    replayed: int
    total: int


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """An arm over its seeds. ``stages`` are the rows of the matrices, "init" first; joint has no forgetting.

    ``lineages``: seed → the lineages of its checkpoints, the initial model first.
    """

    stages: tuple[str, ...]
    loss: PerStage
    bits_per_byte: PerStage
    forgetting: PerLanguage
    backward_transfer: PerLanguage
    forward_transfer: PerLanguage
    retained_loss: SeedMean
    learned_loss: SeedMean | None
    tasks: PerStage
    tokens: TokenTotals
    flops: int
    lineages: Mapping[str, tuple[str, ...]]

    @property
    def final_loss(self) -> PerLanguage:
        """Loss on each language after the last stage."""
        return self.loss[self.stages[-1]]

    @property
    def final_tasks(self) -> PerLanguage:
        """Task → score after the last stage; empty if no tasks were run."""
        return self.tasks.get(self.stages[-1], {})

    @property
    def mean_forgetting(self) -> float | None:
        """Mean over the languages that can be forgotten; None for joint."""
        values = [value.mean for value in self.forgetting.values()]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True, kw_only=True)
class HeldOutLoss:
    """A checkpoint's loss on a language; ``ci95`` of nats per token, by bootstrap over the documents."""

    nats_per_token: float
    bits_per_byte: float
    tokens: int
    bytes: int
    documents: int
    ci95: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """A checkpoint's score on a task; ``documents`` counts the questions."""

    value: float
    stderr: float | None
    documents: int


@dataclass(frozen=True, kw_only=True)
class CheckpointSummary:
    """One checkpoint. ``stage`` is its row of the loss matrix; the initial model has no parent and no ledger."""

    arms: tuple[str, ...]
    seed: int
    stage: str
    parent: str | None
    parameters: int
    replay: ReplaySpec | None
    mer: Mer | None
    ledger: StageLedger | None
    loss: Mapping[str, HeldOutLoss]
    tasks: Mapping[str, TaskScore]
    samples: Mapping[str, tuple[Sample, ...]]

    @property
    def replay_rate(self) -> Decimal:
        """The replayed share of each batch; 0 without replay."""
        return self.replay.rate if self.replay else Decimal(0)


@dataclass(frozen=True, kw_only=True)
class EvalAll:
    """The contents of eval_all.json. ``params``: the resolved params without paths. ``runs``: lineage → checkpoint.

    ``read_eval_all`` restores the order of the params for arms, stages, languages and tasks, since JSON keys are
    sorted.
    """

    sample: bool
    params: Mapping[str, Any]
    languages: tuple[str, ...]
    tasks: Mapping[str, TaskInfo]
    arms: Mapping[str, ArmSummary]
    runs: Mapping[str, CheckpointSummary]
    data: Mapping[str, LanguageSummary]
    format: Literal["palimpsest.eval_all/1"] = "palimpsest.eval_all/1"

    @property
    def seeds(self) -> int:
        """The largest number of seeds of an arm."""
        return max((len(arm.lineages) for arm in self.arms.values()), default=0)

    @property
    def forgettable(self) -> list[str]:
        """The languages that at least one arm can forget, in the order of training."""
        return [name for name in self.languages if any(name in arm.forgetting for arm in self.arms.values())]

    def chain(self, arm: str) -> list[CheckpointSummary]:
        """The checkpoints of the arm's first seed, the initial model first."""
        return [self.runs[lineage] for lineage in self.first_seed_lineages(arm)]

    def first_seed_lineages(self, arm: str) -> tuple[str, ...]:
        """The lineages of ``chain``, the checkpoints of the arm's first seed."""
        return next(iter(self.arms[arm].lineages.values()), ())

    def after_stage(self, arm: str, stage: str) -> CheckpointSummary | None:
        """The checkpoint of the arm's first seed after a stage, or None if it has no such stage."""
        return next((checkpoint for checkpoint in self.chain(arm) if checkpoint.stage == stage), None)

    def ledgers(self, arm: str) -> dict[str, StageLedger]:
        """Stage → ledger, which is the same for every seed."""
        return {checkpoint.stage: checkpoint.ledger for checkpoint in self.chain(arm) if checkpoint.ledger}

    def replay_rates(self, arm: str) -> dict[str, Decimal]:
        """Stage → the replayed share of a batch, 0 without replay; excludes "init"."""
        return {checkpoint.stage: checkpoint.replay_rate for checkpoint in self.chain(arm) if checkpoint.ledger}

    def step_ranges(self, arm: str) -> dict[str, tuple[int, int]]:
        """Stage → first and last optimiser step, counted from the start of the lineage."""
        found, start = {}, 0
        for stage, ledger in self.ledgers(arm).items():
            found[stage] = (start, start + ledger.steps)
            start += ledger.steps
        return found

    def relative_flops(self, arm: str) -> float | None:
        """Training FLOPs over those of the sequential arm; None if there is no such arm."""
        base = self.arms.get(BASE_ARM)
        return self.arms[arm].flops / base.flops if base and base.flops else None

    def document_interval(self, arm: str, stage: str, language: str) -> tuple[float, float] | None:
        """The bootstrap interval over documents of a loss; None for several seeds, whose spread is shown instead."""
        checkpoint = self.after_stage(arm, stage)
        if checkpoint is None or language not in checkpoint.loss or self.arms[arm].loss[stage][language].n != 1:
            return None
        return checkpoint.loss[language].ci95


def write_eval_all(path: Path, results: EvalAll) -> None:
    """Write eval_all.json atomically."""
    write_json(path, encode(results))


def read_eval_all(path: Path) -> EvalAll:
    """Read eval_all.json; raises ArtifactError naming the file and the key that is wrong."""
    return _in_order(read_results_file(EvalAll, path, _REMEDY))


def _in_order(results: EvalAll) -> EvalAll:
    """The results with mappings in the order of training and of the params."""
    params, languages = results.params, results.languages
    tasks = _ordered(results.tasks, params.get("evaluate", {}).get("tasks", []))
    return dataclasses.replace(
        results,
        tasks=tasks,
        arms={
            name: _arm_in_order(arm, languages, list(tasks))
            for name, arm in _ordered(results.arms, params.get("arms", [])).items()
        },
        data=_ordered(results.data, languages),
    )


def _arm_in_order(arm: ArmSummary, languages: Sequence[str], tasks: Sequence[str]) -> ArmSummary:
    return dataclasses.replace(
        arm,
        loss=_rows_in_order(arm.loss, arm.stages, languages),
        bits_per_byte=_rows_in_order(arm.bits_per_byte, arm.stages, languages),
        forgetting=_ordered(arm.forgetting, languages),
        backward_transfer=_ordered(arm.backward_transfer, languages),
        forward_transfer=_ordered(arm.forward_transfer, languages),
        tasks=_rows_in_order(arm.tasks, arm.stages, tasks),
    )


def _rows_in_order(matrix: PerStage, rows: Sequence[str], columns: Sequence[str]) -> PerStage:
    return {row: _ordered(values, columns) for row, values in _ordered(matrix, rows).items()}


def _ordered(mapping: Mapping[str, V], names: Iterable[str]) -> dict[str, V]:
    """A mapping in the order of ``names``; keys that are not among them come last."""
    position = {name: at for at, name in enumerate(names)}
    return {key: mapping[key] for key in sorted(mapping, key=lambda key: position.get(key, len(position)))}
