"""MinHash signatures, cut into bands: texts that share a band's hash are taken for near-duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from palimpsest.corpus import kernel
from palimpsest.corpus.letters import packed, spaced, tables

_SEED = 1


class Signatures:
    """Band hashes of the texts of one language, from shingles of ``minhash["ngram"]`` units (letters.py).

    A text with fewer units is one shingle of what it has; one without any word is taken by its visible characters.
    The same on every machine, for every cut of the texts into lists. Takes up to 8 bytes a character of the list and
    8 a character of its longest text, while it runs.
    """

    def __init__(self, language: str, minhash: Mapping[str, int]) -> None:
        self._ngram, self._bands = minhash["ngram"], minhash["bands"]
        words, self._visible = tables()
        self._letters = words if spaced(language) else words[:0]
        self._factors = _factors(minhash["bands"] * minhash["rows"])

    def bands(self, texts: Sequence[str]) -> NDArray[np.uint64]:
        """A row for each text: a 64-bit hash of each band of its signature."""
        codes, ends = packed(texts)
        rows = np.empty((len(texts), self._bands), np.uint64)
        kernel.band_hashes(codes, ends, self._letters, self._visible, self._ngram, self._factors, rows)
        return rows


def _factors(count: int) -> NDArray[np.uint32]:
    """The multipliers of the hash functions: the high halves of splitmix64's first numbers."""
    seeds = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(_SEED)) * np.uint64(0x9E3779B97F4A7C15)
    return np.array([int(kernel.mix(seed)) >> 32 for seed in seeds], np.uint32)
