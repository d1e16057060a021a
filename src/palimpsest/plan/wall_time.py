"""Wall time of the stages on a number of GPUs: a stage waits for its parent and for free GPUs."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from palimpsest.plan.training_stages import TrainingStage


@dataclass(frozen=True, kw_only=True)
class GpuPool:
    """``count`` GPUs of one kind with ``peak_flops`` FLOP/s each, of which training reaches the fraction ``mfu``."""

    name: str
    count: int
    peak_flops: float
    mfu: float

    def hours(self, flops: int, gpus: int = 1) -> float:
        """Hours that ``gpus`` of them together take for ``flops``."""
        return flops / (self.peak_flops * self.mfu * gpus) / 3600

    def wall_hours(self, stage: TrainingStage) -> float:
        """Hours of one stage, on the GPUs that it uses."""
        return self.hours(stage.flops, stage.processes)


def longest_chain(stages: Sequence[TrainingStage], gpus: GpuPool) -> tuple[float, str]:
    """Hours of the slowest path from an initial model to a final checkpoint, and its lineage."""
    ends: dict[str, float] = {}
    for stage in stages:
        ends[stage.lineage.path] = ends.get(stage.parent, 0.0) + gpus.wall_hours(stage)
    return max((hours, path) for path, hours in ends.items())


def schedule_hours(stages: Sequence[TrainingStage], gpus: GpuPool) -> float:
    """Hours until the last stage ends if every stage starts as soon as it can, those with the longest chain first."""
    behind = _hours_behind(stages, gpus)
    paths = {stage.lineage.path for stage in stages}
    waiting = {path: [stage for stage in stages if stage.parent == path] for path in paths}
    ready = [stage for stage in stages if stage.parent not in paths]
    running: list[tuple[float, str, TrainingStage]] = []
    now, free = 0.0, gpus.count
    while ready or running:
        ready.sort(key=lambda stage: -behind[stage.lineage.path])
        for stage in list(ready):
            if stage.processes <= free:
                ready.remove(stage)
                free -= stage.processes
                heapq.heappush(running, (now + gpus.wall_hours(stage), stage.lineage.path, stage))
        now, _, done = heapq.heappop(running)
        free += done.processes
        ready += waiting[done.lineage.path]
    return now


def _hours_behind(stages: Sequence[TrainingStage], gpus: GpuPool) -> dict[str, float]:
    """Hours from the start of a stage to the end of the longest chain that begins with it."""
    behind: dict[str, float] = {}
    for stage in reversed(stages):
        after = [behind[other.lineage.path] for other in stages if other.parent == stage.lineage.path]
        behind[stage.lineage.path] = gpus.wall_hours(stage) + max(after, default=0.0)
    return behind
