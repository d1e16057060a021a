"""Stage tokens: encodes a corpus folder into token shards, one per corpus shard (data/tokens/{language})."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from palimpsest import codec
from palimpsest.artifact import MANIFEST, Manifest, fingerprint, read_manifest, write_manifest
from palimpsest.errors import DataError
from palimpsest.progress import Progress
from palimpsest.specs.data import TokensSpec
from palimpsest.tokens.megatron import shard_files
from palimpsest.tokens.mixture import downsample_sources
from palimpsest.tokens.partial_build import PartialBuild
from palimpsest.tokens.shard_encoder import SPLITS, CorpusShard, ShardCounts, ShardEncoder, sum_counts

logger = logging.getLogger(__name__)

_SUFFIX = ".jsonl.zst"


def build_tokens(spec: TokensSpec, corpus: Path, tokenizer: Path, out: Path, workers: int = 1) -> None:
    """Write data/tokens/{language}.

    Any number of workers (threads) writes the same bytes; a killed build resumes after its last finished shard. Memory
    per worker: 2 MiB of text (or one longer document) with its encoding, and 24 bytes per document of its shard.
    """
    # Both encoders read this once, at their first use.
    os.environ.setdefault("RAYON_NUM_THREADS", str(workers))
    corpus_manifest, tokenizer_manifest = read_manifest(corpus, "corpus"), read_manifest(tokenizer, "tokenizer")
    shards = _corpus_shards(spec, corpus_manifest)
    build = PartialBuild(out, _fingerprints(spec, shards, corpus_manifest, tokenizer_manifest))
    encoder = ShardEncoder(tokenizer_manifest)
    _encode(shards, encoder, build, workers, corpus_manifest)
    _check(build.done, shards, corpus_manifest)
    counts = downsample_sources(spec, shards, build, encoder, out)
    write_manifest(
        out,
        stage="tokens",
        params=codec.fingerprint_fields(spec)
        | {"dtype": encoder.dtype, "end_of_text": encoder.end_of_text, "vocab_size": encoder.vocab_size},
        inputs={"corpus": corpus_manifest, "tokenizer": tokenizer_manifest},
        files=[file for shard in shards for file in shard_files(out / shard.name)],
        counts=codec.encode(counts),
    )
    build.close()


def _corpus_shards(spec: TokensSpec, corpus: Manifest) -> list[CorpusShard]:
    """The corpus shards in name order, train first. Raises DataError if the source of one is not in the spec."""
    shards = []
    for split in SPLITS:
        for path in corpus.paths(f"{split}/", _SUFFIX):
            stem = path.name.removesuffix(_SUFFIX)
            source = stem.rpartition("-")[0]
            if source not in spec.sources:
                raise DataError(
                    f"{path}: of source {source!r}, expected one of {', '.join(sorted(spec.sources))}; "
                    f"delete {corpus.folder / MANIFEST} and run the corpus stage again"
                )
            shards.append(CorpusShard(split=split, source=source, path=path, name=f"{split}-{stem}"))
    return shards


def _fingerprints(
    spec: TokensSpec, shards: Iterable[CorpusShard], corpus: Manifest, tokenizer: Manifest
) -> dict[str, str]:
    """Name of each shard → hash of everything that determines it before downsampling, which comes after encoding."""
    shared = [tokenizer.digest, spec.revision]
    return {
        shard.name: fingerprint([*shared, corpus.files[shard.path.relative_to(corpus.folder).as_posix()].xxh3_128])
        for shard in shards
    }


def _encode(
    shards: list[CorpusShard], encoder: ShardEncoder, build: PartialBuild, workers: int, corpus: Manifest
) -> None:
    """Encode every shard that is not finished yet, the largest first, and report progress."""
    encoded = sum(counts.bytes for counts in build.done.values())
    unfinished = [shard for shard in shards if shard.name not in build.done]
    unfinished.sort(key=lambda shard: -shard.path.stat().st_size)
    if build.done:
        logger.info("%s: resuming after %d finished shards", corpus.folder.name, len(build.done))

    def write(shard: CorpusShard) -> ShardCounts:
        counts = encoder.write(shard.path, build.prefix(shard.name))
        build.finish(shard.name, counts)
        return counts

    total = sum(corpus.counts[split]["bytes"] for split in SPLITS)
    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        Progress(corpus.folder.name, total=total, unit="bytes", start=encoded) as progress,
    ):
        futures = [pool.submit(write, shard) for shard in unfinished]
        try:
            for future in as_completed(futures):
                encoded += future.result().bytes
                progress.update(encoded, f"{len(build.done)} of {len(shards)} shards")
        finally:
            pool.shutdown(cancel_futures=True)


def _check(done: dict[str, ShardCounts], shards: list[CorpusShard], corpus: Manifest) -> None:
    """Raises DataError unless all documents and bytes that the corpus manifest counts were read."""
    for split in SPLITS:
        counts = codec.encode(sum_counts(done[shard.name] for shard in shards if shard.split == split))
        for name in ("documents", "bytes"):
            if counts[name] != (expected := corpus.counts[split][name]):
                raise DataError(
                    f"{corpus.folder}: {counts[name]} {name} of {split} read, expected {expected} by its "
                    f"{MANIFEST}; delete that and run the corpus stage again"
                )
