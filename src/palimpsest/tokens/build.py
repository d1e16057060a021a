"""The tokens stage: a corpus folder becomes token shards, one for each corpus shard (data/tokens/{language})."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from palimpsest.artifact import MANIFEST, Manifest, fingerprint, read_manifest, write_manifest
from palimpsest.errors import DataError
from palimpsest.progress import Progress
from palimpsest.tokens.megatron import files
from palimpsest.tokens.mixture import mix
from palimpsest.tokens.shards import SPLITS, Counts, Part, ShardEncoder, total
from palimpsest.tokens.unfinished import Unfinished

logger = logging.getLogger(__name__)

_SUFFIX = ".jsonl.zst"


def build(spec: dict[str, Any], corpus: Path, tokenizer: Path, out: Path, workers: int = 1) -> None:
    """Write data/tokens/{language}. ``spec``: ``language``, ``sources`` (name → weight, max_tokens), ``revision``.

    The bytes are the same for any number of workers; a killed build goes on where it was. A worker is a thread that
    holds 2 MiB of text (or one longer document) with its encoding, and 24 bytes for each document of its shard.
    """
    # Both engines read it once, when they are first used.
    os.environ.setdefault("RAYON_NUM_THREADS", str(workers))
    source, vocabulary = read_manifest(corpus, "corpus"), read_manifest(tokenizer, "tokenizer")
    parts = _parts(spec, source)
    unfinished = Unfinished(out, _fingerprints(spec, parts, source, vocabulary))
    encoder = ShardEncoder(vocabulary)
    _encode(parts, encoder, unfinished, workers, source)
    _check(unfinished.done, parts, source)
    counts = mix(spec, parts, unfinished, encoder, out)
    write_manifest(
        out,
        stage="tokens",
        params=spec | {"dtype": encoder.dtype, "end_of_text": encoder.end_of_text, "vocab_size": encoder.vocab_size},
        inputs={"corpus": source, "tokenizer": vocabulary},
        files=[file for part in parts for file in files(out / part.name)],
        counts=counts,
    )
    unfinished.close()


def _parts(spec: dict[str, Any], source: Manifest) -> list[Part]:
    """The corpus shards in name order, train first. Raises DataError for one whose source the spec does not know."""
    parts = []
    for split in SPLITS:
        for path in source.paths(f"{split}/", _SUFFIX):
            stem = path.name.removesuffix(_SUFFIX)
            name = stem.rpartition("-")[0]
            if name not in spec["sources"]:
                raise DataError(
                    f"{path}: of source {name!r}, expected one of {', '.join(sorted(spec['sources']))}; "
                    f"delete {source.folder / MANIFEST} and run the corpus stage again"
                )
            parts.append(Part(split=split, source=name, path=path, name=f"{split}-{stem}"))
    return parts


def _fingerprints(
    spec: dict[str, Any], parts: Iterable[Part], source: Manifest, vocabulary: Manifest
) -> dict[str, str]:
    """Name of each shard → hash of all that shapes its whole form; the mixture, which comes after, is no part of it."""
    shared = [vocabulary.digest, spec["revision"]]
    return {
        part.name: fingerprint([*shared, source.files[part.path.relative_to(source.folder).as_posix()]["xxh3_128"]])
        for part in parts
    }


def _encode(parts: list[Part], encoder: ShardEncoder, unfinished: Unfinished, workers: int, source: Manifest) -> None:
    """Encode every shard that is not done yet, the largest first, logging how far it has come."""
    expected = sum(source.counts[split]["bytes"] for split in SPLITS)
    before = sum(counts.bytes for counts in unfinished.done.values())
    encoded = before
    todo = sorted(
        (part for part in parts if part.name not in unfinished.done), key=lambda part: -part.path.stat().st_size
    )
    if before:
        logger.info("%s: %d shards of a build that was stopped are kept", source.folder.name, len(unfinished.done))

    def write(part: Part) -> Counts:
        counts = encoder.write(part.path, unfinished.prefix(part.name))
        unfinished.finish(part.name, counts)
        return counts

    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        Progress(source.folder.name, total=expected, unit="bytes", start=before) as progress,
    ):
        futures = [pool.submit(write, part) for part in todo]
        try:
            for future in as_completed(futures):
                encoded += future.result().bytes
                progress.update(encoded, f"{len(unfinished.done)} of {len(parts)} shards")
        finally:
            pool.shutdown(cancel_futures=True)


def _check(done: dict[str, Counts], parts: list[Part], source: Manifest) -> None:
    """What was read must be all that the corpus says it has."""
    for split in SPLITS:
        found = total([done[part.name] for part in parts if part.split == split])
        for name in ("documents", "bytes"):
            if found[name] != (expected := source.counts[split][name]):
                raise DataError(
                    f"{source.folder}: {found[name]} {name} of {split} read, expected {expected} by its "
                    f"{MANIFEST}; delete that and run the corpus stage again"
                )
