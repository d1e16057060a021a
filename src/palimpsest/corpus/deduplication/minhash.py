"""MinHash signatures cut into bands: two texts that share the hash of a band count as near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palimpsest.corpus.deduplication import kernels
from palimpsest.corpus.deduplication.shingles import character_tables, code_points, is_spaced
from palimpsest.settings.cleaning import Minhash

_SEED = 1


class MinHasher:
    """Band hashes of the texts of one language, from shingles of ``minhash.ngram`` units (shingles.py).

    A text with fewer units is one shingle of all of them; one without any word is compared by its visible characters.
    The hashes are the same on every machine, and for every split of the texts into lists. While it runs it takes up to
    8 bytes a character of the list and 8 a character of its longest text.
    """

    def __init__(self, language: str, minhash: Minhash) -> None:
        self._ngram, self._bands = minhash.ngram, minhash.bands
        word, self._visible = character_tables()
        self._word = word if is_spaced(language) else word[:0]
        self._factors = _factors(minhash.bands * minhash.rows)

    def band_hashes(self, texts: Sequence[str]) -> NDArray[np.uint64]:
        """A 64-bit hash of each band of each text's signature, shaped (texts, bands)."""
        codes, ends = code_points(texts)
        hashes = np.empty((len(texts), self._bands), np.uint64)
        kernels.band_hashes(codes, ends, self._word, self._visible, self._ngram, self._factors, hashes)
        return hashes


def _factors(count: int) -> NDArray[np.uint32]:
    """The multipliers of the hash functions: the high halves of splitmix64's first numbers."""
    seeds = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(_SEED)) * np.uint64(0x9E3779B97F4A7C15)
    return np.array([int(kernels.mix(seed)) >> 32 for seed in seeds], np.uint32)
