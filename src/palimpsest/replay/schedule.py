"""How many sequences of each batch are replayed: exact counts for any replay rate (paper section 3.1, our rounding).

A stage is a row of T sequences, B to a batch. Position p of the row is a replayed one when ⌊(p + 1)α⌋ > ⌊pα⌋, so
batch i holds ⌊(i + 1)αB⌋ - ⌊iαB⌋ replayed sequences, spread evenly, and any stretch of the row has the right share to
within one. α is a decimal fraction and never a float.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Batch:
    """Where batch i takes its sequences: the ordinals of the new and of the replayed ones, and their places."""

    new: range
    replayed: range
    is_replayed: np.ndarray  # bool [sequences in the batch]


@dataclass(frozen=True)
class Schedule:
    """The row of sequences that a stage trains on. ``total`` counts new and replayed sequences."""

    total: int
    batch_size: int
    rate: Fraction

    @property
    def steps(self) -> int:
        return -(-self.total // self.batch_size)

    @property
    def replayed(self) -> int:
        return self._replayed_before(self.total)

    @property
    def new(self) -> int:
        return self.total - self.replayed

    def batch(self, step: int) -> Batch:
        """The contents of batch ``step`` in [0, steps); the last one may be short."""
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not in [0, {self.steps})")
        start, stop = step * self.batch_size, min((step + 1) * self.batch_size, self.total)
        before, after = self._replayed_before(start), self._replayed_before(stop)
        # Only the remainder of start·α matters for where the replayed places fall, which keeps the numbers small.
        numerator, denominator = self.rate.numerator, self.rate.denominator
        offsets = (start * numerator) % denominator + np.arange(stop - start + 1, dtype=np.int64) * numerator
        return Batch(
            new=range(start - before, stop - after),
            replayed=range(before, after),
            is_replayed=np.diff(offsets // denominator) > 0,
        )

    def new_before(self, replayed: np.ndarray) -> np.ndarray:
        """For replayed sequences by ordinal (int64 [m]), how many new ones there were in the batches before theirs."""
        numerator, denominator = self.rate.numerator, self.rate.denominator
        # Ordinal r stands at position ⌈(r + 1)/α⌉ - 1. Whole multiples are taken out, so that no product overflows.
        whole, rest = np.divmod(replayed + 1, numerator)
        position = whole * denominator - (-rest * denominator // numerator) - 1
        start = position // self.batch_size * self.batch_size
        whole, rest = np.divmod(start, denominator)
        return np.asarray(start - whole * numerator - rest * numerator // denominator)

    def _replayed_before(self, position: int) -> int:
        return position * self.rate.numerator // self.rate.denominator


def schedule(budget: int, batch_size: int, rate: Fraction | str, accounting: Literal["add", "replace"]) -> Schedule:
    """The schedule of a stage with ``budget`` sequences.

    ``add``: the budget is new sequences, and the row ends with the last of them, so that compute grows by 1/(1 - α).
    ``replace``: the budget is all sequences, and replay takes the place of new ones.
    """
    rate = Fraction(rate)
    if not 0 <= rate < 1:
        raise ValueError(f"the replay rate must be in [0, 1), got {rate}")
    if accounting == "replace":
        return Schedule(budget, batch_size, rate)
    # The smallest T with T - ⌊Tα⌋ ≥ budget: T(1 - α) must exceed budget - 1.
    return Schedule(int((budget - 1) // (1 - rate)) + 1, batch_size, rate)
