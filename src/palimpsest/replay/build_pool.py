"""Stage replay: plans what a training stage may replay (data/replay/{lineage})."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.artifact import Manifest, atomic_file, read_manifest, write_manifest
from palimpsest.replay.permutation import derive_key
from palimpsest.replay.pool_plan import RESERVOIR, OwnStage, PoolPlan, PoolSource
from palimpsest.replay.reservoir import retained
from palimpsest.replay.samplers import SequenceOrder
from palimpsest.replay.schedule import Schedule
from palimpsest.tokens.sequences import Sequences

logger = logging.getLogger(__name__)


def build_pool(spec: dict[str, Any], tokens: dict[str, Path], out: Path) -> Manifest:
    """Write the plan of a pool. ``tokens``: folder of the token shards by past language."""
    languages = [past["language"] for past in spec["past"]]
    inputs = {f"tokens/{language}": read_manifest(tokens[language], "tokens") for language in languages}
    sources = tuple(_source(past, tokens, spec) for past in spec["past"])
    own = OwnStage(
        language=spec["language"],
        budget=spec["budget"],
        batch_size=spec["batch_size"],
        rate=Decimal(spec["rate"]),
        accounting=spec["accounting"],
    )
    schedule, size = own.schedule(), sum(source.used for source in sources)
    files = []
    if spec["scope"] == "capacity":
        reservoir = retained(size, spec["capacity"], derive_key(spec["seed"], "reservoir"))
        size = len(reservoir)
        files.append(_write_array(out / RESERVOIR, reservoir))
    elif spec["scope"] == "seen":
        size += schedule.new
    plan = PoolPlan(
        scope=spec["scope"],
        seed=spec["seed"],
        stage=spec["stage"],
        sources=sources,
        own=own if spec["scope"] == "seen" else None,
    )
    files.append(plan.write(out))
    counts = {"sequences": size, "draws": schedule.replayed, "epochs": round(schedule.replayed / size, 4)}
    logger.info("pool of %d sequences from %s; %d draws", size, ", ".join(languages), schedule.replayed)
    return write_manifest(out, stage="replay", params=spec, inputs=inputs, files=files, counts=counts)


def _source(past: dict[str, Any], tokens: dict[str, Path], spec: dict[str, Any]) -> PoolSource:
    language = past["language"]
    sequences = len(Sequences(tokens[language], "train", spec["context_length"]))
    trained = Schedule.for_budget(
        past["budget"],
        batch_size=spec["batch_size"],
        replay_rate=Decimal(past["rate"]),
        accounting=past["accounting"],
    )
    SequenceOrder(language, sequences, spec["seed"])  # refuses a language without any
    return PoolSource(language=language, sequences=sequences, used=min(trained.new, sequences))


def _write_array(path: Path, array: np.ndarray) -> Path:
    with atomic_file(path) as file:
        np.save(file, array, allow_pickle=False)
    return path
