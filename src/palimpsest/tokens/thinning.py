"""How much of each source a language keeps, and which documents.

Of a source with ``avail`` tokens (its ``max_tokens`` at most) and weight ``w`` the language keeps T · w tokens, with
the largest T for which no source is repeated: T = min over the sources of avail / w. Without weights each keeps all of
``avail``.
All of it is counted in tokens of training; validation is thinned by the same fraction. Arithmetic is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.errors import DataError
from palimpsest.tokens.megatron import Shard, ShardWriter

_TOKENS = 1 << 22


def kept(language: str, tokens: Mapping[str, int], sources: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Source → training tokens to keep, of the ``tokens`` that there are. ``sources``: name → weight, max_tokens.

    Raises DataError when a source that is to have a share has no tokens.
    """
    avail = {
        name: tokens[name] if source["max_tokens"] is None else min(tokens[name], source["max_tokens"])
        for name, source in sources.items()
    }
    if any(source["weight"] is None for source in sources.values()):
        return avail
    if empty := [name for name, count in avail.items() if not count]:
        raise DataError(
            f"{language}: source {empty[0]!r} has a weight, but no training tokens are left of it; "
            "look into dropped.jsonl.zst of its corpus, or take the source out of corpus.sources"
        )
    weights = {name: Fraction(str(source["weight"])) for name, source in sources.items()}
    total = min(avail[name] / weight for name, weight in weights.items())
    return {name: int(total * weight) for name, weight in weights.items()}


class Thinning:
    """Which documents of a source stay, evenly over all of it: asked in order, from one shard to the next.

    A document stays when that brings what is kept nearest to ``fraction`` of all tokens up to and with it, so after
    every document the two differ by half of the longest document at most. ``limit``, if any, is never passed.
    """

    def __init__(self, fraction: Fraction, limit: int | None = None) -> None:
        self._part, self._whole = fraction.numerator, fraction.denominator
        self._limit = limit
        self._seen = self._kept = 0

    def mask(self, lengths: np.ndarray) -> np.ndarray:
        """Which of the next documents stay, bool."""
        if self._part == self._whole:
            return np.ones(len(lengths), dtype=bool)
        part, whole, seen, taken = self._part, self._whole, self._seen, self._kept
        limit = self._limit
        stay = np.zeros(len(lengths), dtype=bool)
        for place, length in enumerate(lengths.tolist()):
            seen += length
            if (2 * taken + length) * whole <= 2 * part * seen and (limit is None or taken + length <= limit):
                taken += length
                stay[place] = True
        self._seen, self._kept = seen, taken
        return stay


def copy(shard: Shard, stay: np.ndarray, prefix: Path) -> None:
    """Write the documents of a shard that stay, as another shard, 4 Mi tokens (or one longer document) at a time."""
    ends = np.concatenate([[0], np.cumsum(shard.lengths, dtype=np.int64)])
    first = 0
    with ShardWriter(prefix, shard.dtype.name) as writer:
        while first < shard.documents:
            last = max(first + 1, int(np.searchsorted(ends, ends[first] + _TOKENS, side="right")) - 1)
            lengths, chosen = shard.lengths[first:last], stay[first:last]
            writer.extend(shard.tokens[ends[first] : ends[last]][np.repeat(chosen, lengths)], lengths[chosen])
            first = last
