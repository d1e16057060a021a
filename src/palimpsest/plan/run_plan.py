"""The plan of a params file as typed values: tokens, FLOPs, GPU hours, wall time and disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palimpsest.codec import encode
from palimpsest.plan.disk_usage import TextSize
from palimpsest.plan.model_size import ModelSize
from palimpsest.plan.wall_time import GpuPool

FORMAT = "palimpsest.plan/1"
# Field → key of the JSON form, if they differ: one key is a Python keyword, the others keep their old names.
_JSON_KEYS = {"source": "from", "gpus": "cards", "gpu_hours": "card_hours"}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Entries of the tokenizer, and the params key that sets them."""

    entries: int
    source: str


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """One training run. ``compute_over_budget``: its tokens over those of the stage without replay.

    ``arms``: those whose lineages contain it; empty for stages of the sweep.
    """

    lineage: str
    stage: str
    seed: int
    arms: tuple[str, ...]
    model: str
    parameters: int
    processes: int
    compute_over_budget: float
    steps: int
    new_tokens: int
    replayed_tokens: int
    total_tokens: int
    flops: int
    gpu_hours: float
    wall_hours: float


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A lineage, and the hours of its stages one after another."""

    lineage: str
    hours: float


@dataclass(frozen=True, kw_only=True)
class TotalCost:
    """Sums over stages. ``wall_hours``: as the workflow would schedule them; ``busy_hours``: if no GPU ever waited."""

    stages: int
    steps: int
    new_tokens: int
    replayed_tokens: int
    total_tokens: int
    compute_over_budget: float
    flops: int
    gpu_hours: float
    busy_hours: float
    wall_hours: float
    longest_chain: Chain


@dataclass(frozen=True, kw_only=True)
class DiskPlan:
    """Bytes of a finished run, of the checkpoints ``in_flight`` during training, and ``free`` on the disk."""

    languages: Mapping[str, TextSize]
    checkpoints: int
    in_flight: int
    pools: int
    results: int
    total: int
    folder: str
    free: int


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The cost of a params file. ``sweep``: the stages that are not among those of the arms."""

    vocabulary: Vocabulary
    context_length: int
    models: tuple[ModelSize, ...]
    gpus: GpuPool
    stages: tuple[StageCost, ...]
    arms: TotalCost
    sweep: TotalCost | None
    all: TotalCost
    disk: DiskPlan


def plan_json(plan: RunPlan) -> dict[str, Any]:
    """The plan as plain JSON, for ``palimpsest plan --json``."""
    found: dict[str, Any] = _renamed(encode(plan))
    return {"format": FORMAT, **found}


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_JSON_KEYS.get(key, key): _renamed(each) for key, each in value.items()}
    return [_renamed(each) for each in value] if isinstance(value, list) else value
