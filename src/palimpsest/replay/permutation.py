"""A keyed bijection on [0, n) that is computed, not stored: shuffles any amount of data in constant memory.

Above ``_TABLE`` entries it is a balanced Feistel network on the smallest even number of bits that holds n, applied
until the image falls below n (cycle walking: fewer than four applications on average). A Feistel network on a small
domain reaches few of the n! orders, so up to ``_TABLE`` entries it is the sort order of n keyed hashes.
"""

from __future__ import annotations

import hashlib

import numpy as np

_TABLE = 4096
_ROUNDS = 12
_U64 = np.uint64


def derive_key(*parts: object) -> int:
    """A 64-bit key, derived from a seed and names that say what it is for."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "little")


def mix(values: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser: uint64 → uint64; each input bit flips half of the output bits on average."""
    values = (values ^ (values >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> _U64(27))) * _U64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> _U64(31)))


def keyed_hash(values: np.ndarray, key: int) -> np.ndarray:
    """A pseudo-random uint64 for each of ``values`` (int64, ≥ 0); different values have different hashes."""
    return mix(mix(values.astype(_U64) + _U64(1)) ^ _U64(key))


class Permutation:
    """``permutation(i)`` for int64 arrays of positions in [0, n); equal (n, key) give equal orders everywhere."""

    def __init__(self, n: int, key: int) -> None:
        if n < 1:
            raise ValueError(f"a permutation needs at least one element, got n = {n}")
        self.n = n
        self._table: np.ndarray | None = None
        if n <= _TABLE:
            self._table = np.argsort(keyed_hash(np.arange(n), key), kind="stable").astype(np.int64)
        self._half = _U64(max(1, ((n - 1).bit_length() + 1) // 2))
        self._mask = _U64((1 << int(self._half)) - 1)
        self._keys = [_U64(derive_key("round", key, number)) for number in range(_ROUNDS)]

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """The elements at ``positions`` (int64 [m], each in [0, n)) → int64 [m]."""
        if positions.size and not (0 <= positions.min() <= positions.max() < self.n):
            raise IndexError(f"positions must lie in [0, {self.n})")
        if self._table is not None:
            return np.asarray(self._table[positions])
        values = self._feistel(positions.astype(_U64))
        while (outside := np.flatnonzero(values >= _U64(self.n))).size:
            values[outside] = self._feistel(values[outside])
        return values.astype(np.int64)

    def _feistel(self, values: np.ndarray) -> np.ndarray:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (mix(right ^ key) & self._mask)
        return (left << self._half) | right
