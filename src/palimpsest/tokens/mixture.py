"""The last step of the tokens stage: every source is cut down to its share of the language."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

from palimpsest.errors import DataError
from palimpsest.tokens.megatron import Shard
from palimpsest.tokens.shards import SPLITS, Counts, Part, ShardEncoder, total
from palimpsest.tokens.thinning import Thinning, copy, kept
from palimpsest.tokens.unfinished import Unfinished

logger = logging.getLogger(__name__)


def mix(
    spec: dict[str, Any], parts: list[Part], unfinished: Unfinished, encoder: ShardEncoder, out: Path
) -> dict[str, Any]:
    """Put every shard in its place, thinned where its source is too large; returns the counts of the manifest.

    Shards that lose nothing are not written again. Holds one byte for each document of a shard.
    """
    sources = spec["sources"]
    available = _tokens(sources, parts, unfinished.done)
    wanted = kept(spec["language"], available, sources)
    placed: dict[str, Counts] = {}
    for name in sources:
        fraction = Fraction(wanted[name], available[name]) if available[name] else Fraction(1)
        for split in SPLITS:
            # Validation has the same fraction but no limit: a source with few documents there should keep one.
            thinning = Thinning(fraction, limit=wanted[name] if split == "train" else None)
            for part in parts:
                if (part.split, part.source) == (split, name):
                    placed[part.name] = _place(part.name, thinning, unfinished, encoder, out)
    counts = {split: total(placed[part.name] for part in parts if part.split == split) for split in SPLITS}
    had = {part.split for part in parts if unfinished.done[part.name].documents}
    if empty := [split for split in SPLITS if split in had and not counts[split]["documents"]]:
        raise DataError(
            f"{spec['language']}: the mixture of sources leaves no document of {empty[0]}; raise max_tokens, "
            "even out the weights, or raise corpus.validation_fraction"
        )
    mixture = _mixture(sources, available, _tokens(sources, parts, placed))
    logger.info("%s: %s", spec["language"], _line(mixture))
    return {**counts, "sources": mixture}


def _tokens(sources: dict[str, Any], parts: list[Part], counts: dict[str, Counts]) -> dict[str, int]:
    """Source → its tokens of training."""
    return {
        name: sum(counts[part.name].tokens for part in parts if (part.split, part.source) == ("train", name))
        for name in sources
    }


def _place(name: str, thinning: Thinning, unfinished: Unfinished, encoder: ShardEncoder, out: Path) -> Counts:
    shard = Shard(unfinished.prefix(name))
    stay = thinning.mask(shard.lengths)
    if stay.all():
        unfinished.place(name)
        return unfinished.done[name]
    copy(shard, stay, out / name)
    return encoder.holds(out / name)


def _mixture(sources: dict[str, Any], available: dict[str, int], tokens: dict[str, int]) -> dict[str, Any]:
    language = max(sum(tokens.values()), 1)
    return {
        name: {
            "tokens": tokens[name],
            "available": available[name],
            "share": round(tokens[name] / language, 6),
            "weight": source["weight"],
        }
        for name, source in sources.items()
    }


def _line(mixture: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {100 * entry['share']:.1f} % ({entry['tokens']:,} of {entry['available']:,} tokens)"
        for name, entry in mixture.items()
    )
