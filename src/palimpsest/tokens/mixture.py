"""The last step of the tokens stage: downsamples the sources of a language to their weights and limits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from palimpsest.errors import DataError
from palimpsest.specs.data import MixtureShare, TokensSpec
from palimpsest.tokens.downsampling import Downsampler, copy_documents, tokens_to_retain
from palimpsest.tokens.megatron import Shard
from palimpsest.tokens.partial_build import PartialBuild
from palimpsest.tokens.shard_encoder import SPLITS, CorpusShard, ShardCounts, ShardEncoder, sum_counts

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SourceCounts:
    """Training tokens of a source: retained ``tokens``, ``available`` ones, and their ``share`` of the language."""

    tokens: int
    available: int
    share: float
    weight: float | None


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """The counts in the manifest of a tokens folder; ``sources`` maps names to counts."""

    train: ShardCounts
    validation: ShardCounts
    sources: dict[str, SourceCounts]


def downsample_sources(
    spec: TokensSpec, shards: list[CorpusShard], build: PartialBuild, encoder: ShardEncoder, out: Path
) -> TokenCounts:
    """Put every shard into ``out``, downsampled to the share that its source has in the language.

    A shard that keeps all its documents is linked, not rewritten. Memory: one byte per document of a shard. Raises
    DataError if downsampling leaves nothing of a split that has documents.
    """
    sources = spec.sources
    available = _training_tokens(sources, shards, build.done)
    targets = tokens_to_retain(spec.language, available, sources)
    written: dict[str, ShardCounts] = {}
    for name in sources:
        fraction = Fraction(targets[name], available[name]) if available[name] else Fraction(1)
        for split in SPLITS:
            # Validation has the same fraction but no limit, so that a source with few documents there can keep one.
            downsampler = Downsampler(fraction, limit=targets[name] if split == "train" else None)
            for shard in shards:
                if (shard.split, shard.source) == (split, name):
                    written[shard.name] = _downsample_shard(shard.name, downsampler, build, encoder, out)
    splits = {split: sum_counts(written[shard.name] for shard in shards if shard.split == split) for split in SPLITS}
    for split in SPLITS:
        had_documents = any(build.done[shard.name].documents for shard in shards if shard.split == split)
        if had_documents and not splits[split].documents:
            raise DataError(
                f"{spec.language}: the mixture of sources leaves no document of {split}; raise max_tokens, "
                "even out the weights, or raise corpus.validation_fraction"
            )
    mixture = _source_counts(sources, available, _training_tokens(sources, shards, written))
    logger.info("%s: %s", spec.language, _summary(mixture))
    return TokenCounts(train=splits["train"], validation=splits["validation"], sources=mixture)


def _training_tokens(
    sources: Iterable[str], shards: list[CorpusShard], counts: Mapping[str, ShardCounts]
) -> dict[str, int]:
    """Source → its training tokens."""
    return {
        name: sum(counts[shard.name].tokens for shard in shards if (shard.split, shard.source) == ("train", name))
        for name in sources
    }


def _downsample_shard(
    name: str, downsampler: Downsampler, build: PartialBuild, encoder: ShardEncoder, out: Path
) -> ShardCounts:
    shard = Shard(build.prefix(name))
    retained = downsampler.mask(shard.lengths)
    if retained.all():
        build.publish(name)
        return build.done[name]
    copy_documents(shard, retained, out / name)
    return encoder.count(out / name)


def _source_counts(
    sources: Mapping[str, MixtureShare], available: Mapping[str, int], tokens: Mapping[str, int]
) -> dict[str, SourceCounts]:
    total_tokens = max(sum(tokens.values()), 1)
    return {
        name: SourceCounts(
            tokens=tokens[name],
            available=available[name],
            share=round(tokens[name] / total_tokens, 6),
            weight=source.weight,
        )
        for name, source in sources.items()
    }


def _summary(mixture: Mapping[str, SourceCounts]) -> str:
    return ", ".join(
        f"{name} {100 * counts.share:.1f} % ({counts.tokens:,} of {counts.available:,} tokens)"
        for name, counts in mixture.items()
    )
