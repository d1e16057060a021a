"""results/sweep.json: the values of every point of the sweep, and the results of its arms and seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palimpsest.artifact import write_json
from palimpsest.codec import encode
from palimpsest.evaluate.results.eval_all import ArmSummary
from palimpsest.evaluate.results.results_file import read_results_file


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One seed of an arm over all its stages; losses in nats per token, ``flops`` and ``flops_per_token`` of training.

    ``rate``: mean replay rate of the stages after the first. ``accounting`` is None without replay,
    ``learned_loss`` for joint.
    """

    lineage: str
    retained_loss: float
    learned_loss: float | None
    forgetting: Mapping[str, float]
    flops: int
    parameters: int
    flops_per_token: int
    rate: float
    accounting: str | None

    @property
    def mean_forgetting(self) -> float | None:
        """Mean over the languages that can be forgotten; None for joint."""
        return statistics.mean(self.forgetting.values()) if self.forgetting else None


@dataclass(frozen=True, kw_only=True)
class SweepPointResults:
    """``values``: dotted params key → value; ``runs``: arm → seed → results."""

    values: Mapping[str, Any]
    arms: Mapping[str, ArmSummary]
    runs: Mapping[str, Mapping[str, SweepRun]]


@dataclass(frozen=True, kw_only=True)
class SweepResults:
    """The contents of sweep.json; points in the order of the sweep."""

    points: tuple[SweepPointResults, ...]
    format: Literal["palimpsest.sweep/2"] = "palimpsest.sweep/2"


def write_sweep_results(path: Path, results: SweepResults) -> None:
    """Write sweep.json atomically."""
    write_json(path, encode(results))


def read_sweep_results(path: Path) -> SweepResults:
    """Read sweep.json; raises ArtifactError naming the file and the key that is wrong."""
    return read_results_file(SweepResults, path, "run `palimpsest sweep` again")
