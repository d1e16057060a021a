"""Stage replay: writes the plan of the pool that a training stage replays from (data/replay/{lineage})."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from palimpsest import codec
from palimpsest.artifact import Manifest, atomic_file, read_manifest, write_manifest
from palimpsest.replay.permutation import derive_key
from palimpsest.replay.pool_plan import RESERVOIR, OwnStage, PoolPlan, PoolSource
from palimpsest.replay.reservoir import retained
from palimpsest.replay.samplers import SequenceOrder
from palimpsest.replay.schedule import ReplaySchedule
from palimpsest.settings.replay import ReplayShare
from palimpsest.specs.data import PastText, PoolSpec
from palimpsest.tokens.sequences import Sequences

logger = logging.getLogger(__name__)


def build_pool(spec: PoolSpec, tokens: Mapping[str, Path], out: Path) -> Manifest:
    """Write pool.json, and the reservoir of a pool of bounded size. ``tokens``: past language → token shards."""
    inputs = {f"tokens/{past.language}": read_manifest(tokens[past.language], "tokens") for past in spec.past}
    sources = tuple(_source(past, tokens, spec) for past in spec.past)
    schedule = ReplaySchedule.for_budget(spec.new.sequences, batch_size=spec.batch_size, replay=spec.replay)
    size, files = sum(source.used for source in sources), []
    if spec.replay.capacity is not None:
        reservoir = retained(size, spec.replay.capacity, derive_key(spec.seed, "reservoir"))
        size = len(reservoir)
        files.append(_write_array(out / RESERVOIR, reservoir))
    elif spec.replay.scope == "seen":
        size += schedule.new
    own = _own_stage(spec) if spec.replay.scope == "seen" else None
    plan = PoolPlan(scope=spec.replay.scope, seed=spec.seed, stage=spec.stage, sources=sources, own=own)
    files.append(plan.write(out))
    counts = {"sequences": size, "draws": schedule.replayed, "epochs": round(schedule.replayed / size, 4)}
    languages = ", ".join(past.language for past in spec.past)
    logger.info("pool of %d sequences from %s; %d draws", size, languages, schedule.replayed)
    params = codec.fingerprint_fields(spec)
    return write_manifest(out, stage="replay", params=params, inputs=inputs, files=files, counts=counts)


def _source(past: PastText, tokens: Mapping[str, Path], spec: PoolSpec) -> PoolSource:
    sequences = len(Sequences(tokens[past.language], "train", spec.context_length))
    trained = ReplaySchedule.for_budget(past.sequences, batch_size=spec.batch_size, replay=past.replay).new
    SequenceOrder(past.language, sequences, spec.seed)  # raises if the language has none
    return PoolSource(language=past.language, sequences=sequences, used=min(trained, sequences))


def _own_stage(spec: PoolSpec) -> OwnStage:
    share = ReplayShare(rate=spec.replay.rate, accounting=spec.replay.accounting)
    return OwnStage(language=spec.new.language, sequences=spec.new.sequences, batch_size=spec.batch_size, replay=share)


def _write_array(path: Path, array: np.ndarray) -> Path:
    with atomic_file(path) as file:
        np.save(file, array, allow_pickle=False)
    return path
