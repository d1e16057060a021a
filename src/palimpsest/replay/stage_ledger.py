"""The cost of a training stage: sequences and tokens, new and replayed, and training FLOPs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Code that only reads ledgers does not import NumPy.
    from palimpsest.replay.schedule import ReplaySchedule


@dataclass(frozen=True, kw_only=True)
class StageLedger:
    """The ledger in the manifest of a trained stage."""

    steps: int
    new_sequences: int
    replayed_sequences: int
    new_tokens: int
    replayed_tokens: int
    total_tokens: int
    flops: int

    @classmethod
    def of(cls, schedule: ReplaySchedule, context_length: int, flops_per_token: int) -> StageLedger:
        """The ledger of a stage that follows ``schedule``."""
        return cls(
            steps=schedule.steps,
            new_sequences=schedule.new,
            replayed_sequences=schedule.replayed,
            new_tokens=schedule.new * context_length,
            replayed_tokens=schedule.replayed * context_length,
            total_tokens=schedule.total * context_length,
            flops=schedule.total * context_length * flops_per_token,
        )
