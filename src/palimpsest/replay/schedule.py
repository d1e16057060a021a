"""The replay schedule of a stage: exactly which positions of each batch are replayed, for any replay rate α.

A stage trains on T sequences in order, B to a batch. Position p of that order holds a replayed sequence when
⌊(p + 1)α⌋ > ⌊pα⌋. Batch i therefore holds ⌊(i + 1)αB⌋ - ⌊iαB⌋ of them, spread evenly, and any stretch of the order has
the right fraction to within one sequence. α is an exact decimal, never a float. Source of the replay rate: arXiv
2508.01908, section 3.1; the rounding is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TypeVar

import numpy as np

from palimpsest.settings.replay import ReplayShare

Number = TypeVar("Number", int, np.ndarray)


@dataclass(frozen=True)
class BatchPlan:
    """A batch: the draw indices of its new and of its replayed sequences, and which positions are replayed."""

    new: range
    replayed: range
    is_replayed: np.ndarray  # bool [sequences in the batch]


@dataclass(frozen=True, kw_only=True)
class ReplaySchedule:
    """The order of new and replayed sequences in a stage; ``total`` counts both.

    Raises ValueError for a replay rate outside [0, 1).
    """

    total: int
    batch_size: int
    replay_rate: Decimal

    def __post_init__(self) -> None:
        _check_rate(self.replay_rate)

    @classmethod
    def for_budget(cls, budget: int, *, batch_size: int, replay: ReplayShare | None) -> ReplaySchedule:
        """The schedule of a stage with a budget of sequences; ``replay`` is None if nothing is replayed.

        ``add``: the budget counts new sequences, and the stage ends with the last of them, so compute grows by a factor
        of 1/(1 - α). ``replace``: the budget counts all sequences, and replayed ones take the place of new ones.
        """
        if replay is None:
            return cls(total=budget, batch_size=batch_size, replay_rate=Decimal(0))
        if replay.accounting == "replace":
            return cls(total=budget, batch_size=batch_size, replay_rate=replay.rate)
        _check_rate(replay.rate)
        numerator, denominator = replay.rate.as_integer_ratio()
        # The smallest T with T - ⌊Tα⌋ ≥ budget: T(1 - α) must exceed budget - 1.
        total = (budget - 1) * denominator // (denominator - numerator) + 1
        return cls(total=total, batch_size=batch_size, replay_rate=replay.rate)

    @property
    def steps(self) -> int:
        return _ceil_div(self.total, self.batch_size)

    @property
    def replayed(self) -> int:
        return self._replayed_before(self.total)

    @property
    def new(self) -> int:
        return self.total - self.replayed

    def batch(self, step: int) -> BatchPlan:
        """The plan of batch ``step`` in [0, steps); the last batch may be short."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not in [0, {self.steps})")
        start, stop = step * self.batch_size, min((step + 1) * self.batch_size, self.total)
        before, after = self._replayed_before(start), self._replayed_before(stop)
        # Only the remainder of start·α decides which positions replay, which keeps the numbers small.
        numerator, denominator = self._ratio
        offsets = (start * numerator) % denominator + np.arange(stop - start + 1, dtype=np.int64) * numerator
        return BatchPlan(
            new=range(start - before, stop - after),
            replayed=range(before, after),
            is_replayed=np.diff(offsets // denominator) > 0,
        )

    def new_before(self, replayed: np.ndarray) -> np.ndarray:
        """For each draw of a replayed sequence, the number of new sequences in the batches before its own.

        ``replayed``: draw indices, int64 [m] → int64 [m].
        """
        numerator, denominator = self._ratio
        # Replayed draw r is at position ⌈(r + 1)/α⌉ - 1. Whole multiples are split off, so that no product overflows.
        whole, rest = np.divmod(replayed + 1, numerator)
        position = whole * denominator + _ceil_div(rest * denominator, numerator) - 1
        start = position // self.batch_size * self.batch_size
        whole, rest = np.divmod(start, denominator)
        return np.asarray(start - whole * numerator - rest * numerator // denominator)

    @cached_property
    def _ratio(self) -> tuple[int, int]:
        return self.replay_rate.as_integer_ratio()

    def _replayed_before(self, position: int) -> int:
        numerator, denominator = self._ratio
        return position * numerator // denominator


def _ceil_div(dividend: Number, divisor: int) -> Number:
    """⌈dividend / divisor⌉ in integers: floor division of the negated dividend rounds up."""
    return -(-dividend // divisor)


def _check_rate(replay_rate: Decimal) -> None:
    if not 0 <= replay_rate < 1:
        raise ValueError(f"the replay rate must be in [0, 1), got {replay_rate}")
