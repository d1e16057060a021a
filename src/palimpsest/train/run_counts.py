"""The counts in the manifest of runs/{lineage}."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from palimpsest.artifact import Manifest
from palimpsest.codec import decode
from palimpsest.replay.stage_ledger import StageLedger
from palimpsest.train.data import Batches
from palimpsest.train.metrics import StepRecord, read_metrics


@dataclass(frozen=True, kw_only=True)
class InitCounts:
    """Size and cost of the initial model."""

    parameters: int
    training_flops_per_token: int


@dataclass(frozen=True, kw_only=True)
class RunCounts(InitCounts):
    """As InitCounts, with the compute of the stage and the number of steps that were skipped."""

    ledger: StageLedger
    skipped: int


def read_counts(run: Manifest) -> InitCounts | RunCounts:
    """The counts of a checkpoint; RunCounts if it was trained."""
    return decode(RunCounts if "ledger" in run.counts else InitCounts, run.counts, str(run.folder / "manifest.json"))


def run_counts(out: Path, batches: Batches, parameters: int, flops_per_token: int) -> RunCounts:
    """The counts of a trained stage, whose metrics.jsonl is complete."""
    return RunCounts(
        parameters=parameters,
        training_flops_per_token=flops_per_token,
        ledger=StageLedger.of(batches.schedule, batches.context_length, flops_per_token),
        skipped=sum(
            isinstance(record, StepRecord) and record.skipped for record in read_metrics(out / "metrics.jsonl")
        ),
    )
