"""Samplers: map the index of a draw to a training sequence, so that no order of sequences is ever stored.

A keyed bijection maps draw indices to positions in the pool. A pool therefore takes as much memory for 10^8 sequences
as for ten, and every sequence is drawn once before any is drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from palimpsest.errors import DataError
from palimpsest.replay.permutation import Permutation, derive_key, keyed_hash
from palimpsest.replay.schedule import ReplaySchedule


class SequenceOrder:
    """The order in which a language is trained on: a new shuffle of its ``sequences`` indices in every epoch.

    Raises DataError for a language without any sequence.
    """

    def __init__(self, language: str, sequences: int, seed: int) -> None:
        if sequences < 1:
            raise DataError(
                f"{language}: its training text holds no sequence of train.context_length tokens; "
                "give it more text or lower train.context_length"
            )
        self.language, self.sequences, self._seed = language, sequences, seed
        self._epochs: dict[int, Permutation] = {}

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """The sequence numbers (int64 [m]) at ``indices`` (int64 [m], ≥ 0) of the order."""
        result = np.empty_like(indices)
        epochs, positions = np.divmod(indices, self.sequences)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            result[chosen] = self._permutation(int(epoch))(positions[chosen])
        return result

    def _permutation(self, epoch: int) -> Permutation:
        if epoch not in self._epochs:
            self._epochs[epoch] = Permutation(self.sequences, derive_key(self._seed, "order", self.language, epoch))
        return self._epochs[epoch]


@dataclass(frozen=True)
class TrainingSubset:
    """The sequences of a language that a stage trains on, or trained on: the first ``used`` of its order."""

    order: SequenceOrder
    used: int


class Draws(NamedTuple):
    """For each draw, the index of its subset in ``Sampler.subsets`` and a sequence number in that language.

    Both are int64 [m].
    """

    subset_index: np.ndarray
    sequences: np.ndarray


class Sampler(Protocol):
    """Draws sequences from ``subsets``; equal indices give equal draws."""

    subsets: Sequence[TrainingSubset]

    def draw(self, indices: np.ndarray) -> Draws:
        """The draws with these ``indices`` (int64 [m], ≥ 0)."""


class _Concatenation:
    """Subsets one after another: ``size`` positions, each of which is one sequence."""

    def __init__(self, subsets: Sequence[TrainingSubset]) -> None:
        self._subsets = subsets
        self._starts = np.cumsum([0] + [subset.used for subset in subsets])
        self.size = int(self._starts[-1])

    def draws_at(self, positions: np.ndarray) -> Draws:
        subset_index = np.searchsorted(self._starts, positions, side="right") - 1
        return _draws(self._subsets, subset_index, positions - self._starts[subset_index])


class ShuffledSampler:
    """Draws all sequences in shuffled epochs: a ``past`` pool, or the new text of a stage."""

    def __init__(self, subsets: Sequence[TrainingSubset], key: int) -> None:
        self.subsets = subsets
        self._pool = _Concatenation(subsets)
        self._shuffle = SequenceOrder("", self._pool.size, key)

    def draw(self, indices: np.ndarray) -> Draws:
        return self._pool.draws_at(self._shuffle(indices))


class BalancedSampler:
    """Takes the subsets in turn, so that each is drawn from equally often whatever its size."""

    def __init__(self, subsets: Sequence[TrainingSubset], key: int) -> None:
        self.subsets = subsets
        self._shuffles = [SequenceOrder(subset.order.language, subset.used, key) for subset in subsets]

    def draw(self, indices: np.ndarray) -> Draws:
        rounds, subset_index = np.divmod(indices, len(self.subsets))
        positions = np.empty_like(rounds)
        for index, shuffle in enumerate(self._shuffles):
            chosen = subset_index == index
            positions[chosen] = shuffle(rounds[chosen])
        return _draws(self.subsets, subset_index, positions)


class ReservoirSampler:
    """Draws the sequences that a reservoir of bounded size retains, in shuffled epochs.

    ``retained``: their positions in the concatenation of the subsets.
    """

    def __init__(self, subsets: Sequence[TrainingSubset], key: int, retained: np.ndarray) -> None:
        self.subsets = subsets
        self._pool, self._retained = _Concatenation(subsets), retained
        self._shuffle = SequenceOrder("", len(retained), key)

    def draw(self, indices: np.ndarray) -> Draws:
        return self._pool.draws_at(self._retained[self._shuffle(indices)])


class GrowingPoolSampler:
    """Draws uniformly from past subsets and from what the stage itself trained on in the batches before that of a draw.

    The pool grows from batch to batch, so the draws are independent of one another and may repeat.
    """

    def __init__(
        self, past: Sequence[TrainingSubset], key: int, own: ShuffledSampler, schedule: ReplaySchedule
    ) -> None:
        self.subsets: Sequence[TrainingSubset] = [*past, *own.subsets]
        self._past, self._own = _Concatenation(past), own
        self._own_index = len(past)
        self._schedule, self._key = schedule, key

    def draw(self, indices: np.ndarray) -> Draws:
        """Draw with replacement; the stage's own subset is the last one."""
        pool_size = self._past.size + self._schedule.new_before(indices)
        positions = (keyed_hash(indices, self._key) % pool_size.astype(np.uint64)).astype(np.int64)
        own = positions >= self._past.size
        subset_index, sequences = np.full_like(positions, self._own_index), np.empty_like(positions)
        subset_index[~own], sequences[~own] = self._past.draws_at(positions[~own])
        sequences[own] = self._own.draw(positions[own] - self._past.size).sequences
        return Draws(subset_index, sequences)


def new_text_sampler(subsets: Sequence[TrainingSubset], seed: int, stage: int) -> ShuffledSampler:
    """The sampler of the new text that a stage trains on."""
    return ShuffledSampler(subsets, derive_key(seed, "new", stage))


def _draws(subsets: Sequence[TrainingSubset], subset_index: np.ndarray, positions: np.ndarray) -> Draws:
    """The sequences at ``positions`` in the orders of the subsets that ``subset_index`` names."""
    sequences = np.empty_like(positions)
    for index, subset in enumerate(subsets):
        chosen = subset_index == index
        sequences[chosen] = subset.order(positions[chosen])
    return Draws(subset_index, sequences)
