"""Samplers: which sequence every draw takes, computed from the draw's number, so that nothing is stored per sequence.

A keyed bijection maps the number of a draw to a position in the pool. A pool therefore costs as much for 10^8
sequences as for ten, and each sequence is drawn once before any is drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from palimpsest.errors import DataError
from palimpsest.replay.permutation import Permutation, derive_key, keyed_hash
from palimpsest.replay.schedule import Schedule


class SequenceOrder:
    """The order in which a language is trained on; each epoch of ``sequences`` indices has a new shuffle.

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
        """Sequence numbers (int64 [m]) at ``indices`` (int64 [m], ≥ 0) of the order."""
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
class OrderPrefix:
    """The first ``used`` sequences of a language's order: what a stage trains on, or trained on."""

    order: SequenceOrder
    used: int


class Draws(NamedTuple):
    """For each draw, the index of its prefix in ``Sampler.prefixes`` and a sequence number in that language.

    Both are int64 [m].
    """

    prefixes: np.ndarray
    sequences: np.ndarray


class Sampler(Protocol):
    """What draws sequences from ``prefixes``."""

    prefixes: Sequence[OrderPrefix]

    def draw(self, ordinals: np.ndarray) -> Draws:
        """The draws number ``ordinals`` (int64 [m], ≥ 0)."""


class UniformSampler:
    """Draws every sequence of all prefixes equally often: a ``past`` pool, or the data of joint training."""

    def __init__(self, prefixes: Sequence[OrderPrefix], key: int) -> None:
        self.prefixes = prefixes
        self._starts = np.cumsum([0] + [prefix.used for prefix in prefixes])
        self._shuffle = SequenceOrder("", int(self._starts[-1]), key)

    def draw(self, ordinals: np.ndarray) -> Draws:
        positions = self._positions(ordinals)
        which = np.searchsorted(self._starts, positions, side="right") - 1
        return Draws(which, _within(self.prefixes, which, positions - self._starts[which]))

    def _positions(self, ordinals: np.ndarray) -> np.ndarray:
        return self._shuffle(ordinals)


class BalancedSampler:
    """Draws from every prefix equally often, whatever its size: draws r, r + 1, … take the prefixes in turn."""

    def __init__(self, prefixes: Sequence[OrderPrefix], key: int) -> None:
        self.prefixes = prefixes
        self._shuffles = [SequenceOrder(prefix.order.language, prefix.used, key) for prefix in prefixes]

    def draw(self, ordinals: np.ndarray) -> Draws:
        rounds, which = np.divmod(ordinals, len(self.prefixes))
        positions = np.empty_like(rounds)
        for index, shuffle in enumerate(self._shuffles):
            chosen = which == index
            positions[chosen] = shuffle(rounds[chosen])
        return Draws(which, _within(self.prefixes, which, positions))


class ReservoirSampler(UniformSampler):
    """Draws only what a reservoir of bounded size retains: ``retained`` numbers the sequences of all prefixes."""

    def __init__(self, prefixes: Sequence[OrderPrefix], key: int, retained: np.ndarray) -> None:
        super().__init__(prefixes, key)
        self._retained, self._shuffle = retained, SequenceOrder("", len(retained), key)

    def _positions(self, ordinals: np.ndarray) -> np.ndarray:
        return np.asarray(self._retained[self._shuffle(ordinals)])


class SeenSampler:
    """Draws from past prefixes and from what the stage itself trained on before the batch of a draw, all equally often.

    The pool grows from batch to batch. Draws are therefore independent of one another, and may repeat.
    """

    def __init__(self, past: Sequence[OrderPrefix], key: int, own: UniformSampler, schedule: Schedule) -> None:
        self.prefixes: Sequence[OrderPrefix] = [*past, *own.prefixes]
        self._past, self._own, self._schedule, self._key = past, own, schedule, key
        self._starts = np.cumsum([0] + [prefix.used for prefix in past])

    def draw(self, ordinals: np.ndarray) -> Draws:
        """As declared; the last prefix is the stage's own."""
        past = int(self._starts[-1])
        chosen = keyed_hash(ordinals, self._key) % (past + self._schedule.new_before(ordinals)).astype(np.uint64)
        positions = chosen.astype(np.int64)
        which = np.searchsorted(self._starts, positions, side="right") - 1
        own = positions >= past
        which[own] = len(self._past)
        sequences = np.empty_like(positions)
        sequences[~own] = _within(self._past, which[~own], (positions - self._starts[which])[~own])
        sequences[own] = self._own.draw(positions[own] - past).sequences
        return Draws(which, sequences)


def new_sequences(prefixes: Sequence[OrderPrefix], seed: int, stage: int) -> UniformSampler:
    """What a stage trains on as new text, in the order of ordinals."""
    return UniformSampler(prefixes, derive_key(seed, "new", stage))


def _within(prefixes: Sequence[OrderPrefix], which: np.ndarray, positions: np.ndarray) -> np.ndarray:
    sequences = np.empty_like(positions)
    for index, prefix in enumerate(prefixes):
        chosen = which == index
        sequences[chosen] = prefix.order(positions[chosen])
    return sequences
