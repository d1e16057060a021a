"""How many tokens of each source a language retains, and which documents.

A source with ``available`` tokens (at most ``max_tokens``) and weight ``w`` retains T · w tokens. T is the largest
total for which no source is repeated: the minimum over the sources of available / w. Without weights, a source retains
all of ``available``. Counts are of training tokens; validation is downsampled by the same fraction. The arithmetic is
exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from palimpsest.errors import DataError
from palimpsest.specs.data import MixtureShare
from palimpsest.tokens.megatron import Shard, ShardWriter

_CHUNK_TOKENS = 1 << 22


def tokens_to_retain(language: str, tokens: Mapping[str, int], sources: Mapping[str, MixtureShare]) -> dict[str, int]:
    """Source → the number of its training ``tokens`` to retain. ``sources``: name → its share.

    Raises DataError if a source with a weight has no tokens.
    """
    available = {
        name: tokens[name] if source.max_tokens is None else min(tokens[name], source.max_tokens)
        for name, source in sources.items()
    }
    if any(source.weight is None for source in sources.values()):
        return available
    if empty := [name for name, count in available.items() if not count]:
        raise DataError(
            f"{language}: source {empty[0]!r} has a weight, but cleaning left no training tokens of it; "
            "see dropped.jsonl.zst of its corpus, or remove the source from corpus.sources"
        )
    weights = {name: Fraction(str(source.weight)) for name, source in sources.items()}
    total = min(available[name] / weight for name, weight in weights.items())
    return {name: int(total * weight) for name, weight in weights.items()}


class Downsampler:
    """Chooses evenly spaced documents of a source, shard after shard.

    A document is retained if that brings the retained tokens closer to ``fraction`` of all tokens up to and including
    it, so after every document the two differ by at most half the longest document. The retained tokens never exceed
    ``limit``, if given.
    """

    def __init__(self, fraction: Fraction, limit: int | None = None) -> None:
        self._part, self._whole = fraction.numerator, fraction.denominator
        self._limit = limit
        self._seen = self._retained = 0

    def mask(self, lengths: np.ndarray) -> np.ndarray:
        """Which of the next documents are retained, bool [documents]. ``lengths``: their lengths in tokens."""
        if self._part == self._whole:
            return np.ones(len(lengths), dtype=bool)
        part, whole, seen, retained = self._part, self._whole, self._seen, self._retained
        limit = self._limit
        mask = np.zeros(len(lengths), dtype=bool)
        for index, length in enumerate(lengths.tolist()):
            seen += length
            if (2 * retained + length) * whole <= 2 * part * seen and (limit is None or retained + length <= limit):
                retained += length
                mask[index] = True
        self._seen, self._retained = seen, retained
        return mask


def copy_documents(shard: Shard, retained: np.ndarray, prefix: Path) -> None:
    """Write the ``retained`` documents (bool [documents]) of a shard as a new shard.

    Memory: 4 Mi tokens, or one longer document.
    """
    ends = np.concatenate([[0], np.cumsum(shard.lengths, dtype=np.int64)])
    first = 0
    with ShardWriter(prefix, shard.dtype.name) as writer:
        while first < shard.documents:
            last = max(first + 1, int(np.searchsorted(ends, ends[first] + _CHUNK_TOKENS, side="right")) - 1)
            lengths, chosen = shard.lengths[first:last], retained[first:last]
            writer.extend(shard.tokens[ends[first] : ends[last]][np.repeat(chosen, lengths)], lengths[chosen])
            first = last
