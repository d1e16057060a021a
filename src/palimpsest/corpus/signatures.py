"""MinHash signatures, cut into bands: texts that share a band's hash are taken for near-duplicates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xxhash
from rensa import RMinHash

from palimpsest.corpus.words import RegexWords, shingles

_SEED = 1


class Signatures:
    """Band hashes of the texts of one language, from the shingles of ``words``."""

    def __init__(self, language: str, minhash: Mapping[str, int], words: RegexWords) -> None:
        self._language, self._words = language, words
        self._ngram, self._bands, self._rows = minhash["ngram"], minhash["bands"], minhash["rows"]

    def bands(self, text: str) -> list[int]:
        """A 64-bit hash of each band of the text's signature."""
        signature = RMinHash(num_perm=self._bands * self._rows, seed=_SEED)
        signature.update(shingles(text, self._words.word_tokenize(text), self._ngram, self._language))
        packed = np.array(signature.digest(), "<u4").tobytes()
        width = len(packed) // self._bands
        return [xxhash.xxh3_64_intdigest(packed[at : at + width]) for at in range(0, len(packed), width)]
