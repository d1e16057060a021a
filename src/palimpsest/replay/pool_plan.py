"""The replay pool of a stage as a file: a plan over token shards, which copies none of their sequences.

Scopes: ``past`` draws every sequence that earlier stages trained on equally often, as an unbounded reservoir would.
``balanced`` draws every past language equally often. ``capacity`` is a reservoir of bounded size, and the only scope
that lists its sequences. ``seen`` adds the sequences of the stage itself as it trains on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palimpsest import codec
from palimpsest.artifact import write_json
from palimpsest.errors import ArtifactError
from palimpsest.replay.permutation import derive_key
from palimpsest.replay.samplers import (
    BalancedSampler,
    GrowingPoolSampler,
    ReservoirSampler,
    Sampler,
    SequenceOrder,
    ShuffledSampler,
    TrainingSubset,
    new_text_sampler,
)
from palimpsest.replay.schedule import ReplaySchedule
from palimpsest.settings.replay import ReplayShare, Scope
from palimpsest.tokens.sequences import Sequences

PLAN = "pool.json"
RESERVOIR = "reservoir.npy"


@dataclass(frozen=True, kw_only=True)
class PoolSource:
    """A past language: the number of sequences in its training text, and of those that were trained on."""

    language: str
    sequences: int
    used: int


@dataclass(frozen=True, kw_only=True)
class OwnStage:
    """The new text of the stage that replays, and the rest of its replay schedule."""

    language: str
    sequences: int
    batch_size: int
    replay: ReplayShare


@dataclass(frozen=True, kw_only=True)
class PoolPlan:
    """The contents of pool.json; ``own`` is set for the scope ``seen`` only."""

    scope: Scope
    seed: int
    stage: int
    sources: tuple[PoolSource, ...]
    own: OwnStage | None = None

    def write(self, folder: Path) -> Path:
        path = folder / PLAN
        write_json(path, {key: value for key, value in codec.encode(self).items() if value is not None})
        return path


def open_pool(folder: Path, tokens: Mapping[str, Sequences]) -> Sampler:
    """The sampler of a pool. ``tokens``: the training sequences by language.

    Raises ArtifactError if the number of sequences of a language has changed since the pool was built.
    """
    plan = codec.read(PoolPlan, folder / PLAN)
    subsets = [_subset(source, plan, tokens[source.language], folder) for source in plan.sources]
    key = derive_key(plan.seed, "pool", plan.stage)
    if plan.scope == "balanced":
        return BalancedSampler(subsets, key)
    if plan.scope == "capacity":
        return ReservoirSampler(subsets, key, np.load(folder / RESERVOIR, allow_pickle=False))
    if plan.own is not None:
        own = plan.own
        schedule = ReplaySchedule.for_budget(own.sequences, batch_size=own.batch_size, replay=own.replay)
        order = SequenceOrder(own.language, len(tokens[own.language]), plan.seed)
        new = new_text_sampler([TrainingSubset(order, schedule.new)], plan.seed, plan.stage)
        return GrowingPoolSampler(subsets, key, new, schedule)
    return ShuffledSampler(subsets, key)


def _subset(source: PoolSource, plan: PoolPlan, tokens: Sequences, folder: Path) -> TrainingSubset:
    if len(tokens) != source.sequences:
        raise ArtifactError(
            f"{folder / PLAN}: built for {source.sequences} sequences of {source.language}, found {len(tokens)}; "
            "delete the folder and run again"
        )
    return TrainingSubset(SequenceOrder(source.language, source.sequences, plan.seed), source.used)
