"""The counts in the manifest of runs/{lineage}."""

from __future__ import annotations

from dataclasses import dataclass

from palimpsest.artifact import Manifest
from palimpsest.codec import decode
from palimpsest.replay.stage_ledger import StageLedger


@dataclass(frozen=True, kw_only=True)
class InitCounts:
    """Size and cost of the initial model."""

    parameters: int
    training_flops_per_token: int


@dataclass(frozen=True, kw_only=True)
class RunCounts(InitCounts):
    """Those of a trained stage: what it cost, and how many of its steps were ``skipped``."""

    ledger: StageLedger
    skipped: int


def read_counts(run: Manifest) -> InitCounts | RunCounts:
    """The counts of a checkpoint; RunCounts where it was trained."""
    return decode(RunCounts if "ledger" in run.counts else InitCounts, run.counts, str(run.folder / "manifest.json"))
