"""How long the stages take on so many accelerators: a stage waits for its parent, and for accelerators to be free."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from palimpsest.plan.stages import Stage


@dataclass(frozen=True, kw_only=True)
class Cards:
    """``count`` accelerators of a kind, ``peak_flops`` each, of which training uses the share ``mfu``."""

    name: str
    count: int
    peak_flops: float
    mfu: float

    def hours(self, flops: int, cards: int = 1) -> float:
        """Hours of so many cards together for some FLOPs."""
        return flops / (self.peak_flops * self.mfu * cards) / 3600

    def of(self, stage: Stage) -> float:
        """Wall time of a stage, in hours, on the cards that share it."""
        return self.hours(stage.flops, stage.processes)


def longest_chain(stages: Sequence[Stage], cards: Cards) -> tuple[float, str]:
    """Hours of the slowest way from an initial model to a last checkpoint, and that lineage."""
    ends: dict[str, float] = {}
    for stage in stages:
        assert stage.lineage.parent
        ends[stage.lineage.path] = ends.get(stage.lineage.parent.path, 0.0) + cards.of(stage)
    return max((hours, path) for path, hours in ends.items())


def wall_hours(stages: Sequence[Stage], cards: Cards) -> float:
    """From the first start to the last end, when whatever can start does, the longest chain behind it first."""
    behind = _behind(stages, cards)
    paths = {stage.lineage.path for stage in stages}
    waiting = {path: [stage for stage in stages if _parent(stage) == path] for path in paths}
    ready = [stage for stage in stages if _parent(stage) not in paths]
    running: list[tuple[float, str, Stage]] = []
    now, free = 0.0, cards.count
    while ready or running:
        ready.sort(key=lambda stage: -behind[stage.lineage.path])
        for stage in list(ready):
            if stage.processes <= free:
                ready.remove(stage)
                free -= stage.processes
                heapq.heappush(running, (now + cards.of(stage), stage.lineage.path, stage))
        now, _, done = heapq.heappop(running)
        free += done.processes
        ready += waiting[done.lineage.path]
    return now


def _behind(stages: Sequence[Stage], cards: Cards) -> dict[str, float]:
    """Hours from the start of a stage to the end of the longest chain that begins with it."""
    behind: dict[str, float] = {}
    for stage in reversed(stages):
        after = [behind[other.lineage.path] for other in stages if _parent(other) == stage.lineage.path]
        behind[stage.lineage.path] = cards.of(stage) + max(after, default=0.0)
    return behind


def _parent(stage: Stage) -> str:
    assert stage.lineage.parent
    return stage.lineage.parent.path
