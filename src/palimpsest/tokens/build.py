"""The tokens stage: a corpus folder becomes token shards, one for each corpus shard (data/tokens/{language})."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.artifact import MANIFEST, Manifest, read_manifest, write_manifest
from palimpsest.errors import ArtifactError, DataError
from palimpsest.tokens.encode import Encoder
from palimpsest.tokens.lines import texts
from palimpsest.tokens.megatron import ShardWriter

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation")
_BATCH_BYTES = 1 << 22
_DECODED = 8  # documents of each shard that are decoded again


@dataclass(frozen=True, kw_only=True)
class Job:
    """One corpus shard to encode, and where to."""

    split: str
    source: Path
    prefix: Path
    tokenizer: Path
    dtype: str
    end_of_text: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What a shard holds; tokens include end-of-text, bytes are those of the text."""

    documents: int
    tokens: int
    bytes: int


def build(spec: dict[str, Any], corpus: Path, tokenizer: Path, out: Path, workers: int = 1) -> None:
    """Write data/tokens/{language}. ``spec``: ``language`` and ``revision``.

    The bytes are the same for any number of workers. A worker holds 4 MiB of text (or one longer document) with its
    encoding, and 24 bytes for each document of its shard.
    """
    source, vocabulary = read_manifest(corpus, "corpus"), read_manifest(tokenizer, "tokenizer")
    vocab_size, end_of_text = vocabulary.counts["vocab_size"], vocabulary.counts["end_of_text"]
    dtype = "uint16" if vocab_size <= 65_535 else "int32"
    _clear(out)
    jobs = [
        Job(
            split=split,
            source=path,
            prefix=out / f"{split}-{path.name.removesuffix('.jsonl.zst')}",
            tokenizer=tokenizer,
            dtype=dtype,
            end_of_text=end_of_text,
        )
        for split in SPLITS
        for path in source.paths(f"{split}/", ".jsonl.zst")
    ]
    done = _run(jobs, workers, source)
    write_manifest(
        out,
        stage="tokens",
        params=spec | {"dtype": dtype, "end_of_text": end_of_text, "vocab_size": vocab_size},
        inputs={"corpus": source, "tokenizer": vocabulary},
        files=[job.prefix.with_name(job.prefix.name + suffix) for job in jobs for suffix in (".bin", ".idx")],
        counts={split: _total(split, done, source) for split in SPLITS},
    )


def _clear(out: Path) -> None:
    """Remove what an earlier or killed build left, so that only this build's shards are there."""
    out.mkdir(parents=True, exist_ok=True)
    for path in [out / MANIFEST, *out.glob("*.bin"), *out.glob("*.idx"), *out.glob("*.tmp")]:
        path.unlink(missing_ok=True)


def _run(jobs: list[Job], workers: int, source: Manifest) -> dict[Job, Counts]:
    """Encode every shard, in processes of their own, logging how far it has come."""
    language, expected = source.folder.name, sum(source.counts[split]["bytes"] for split in SPLITS)
    processes = max(1, min(workers, len(jobs)))
    done: dict[Job, Counts] = {}
    start, encoded = time.monotonic(), 0
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_worker, (max(1, workers // processes),)
    )
    with pool:
        futures: dict[Future[Counts], Job] = {pool.submit(encode_shard, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                done[futures[future]] = counts = future.result()
                encoded += counts.bytes
                seconds = time.monotonic() - start
                logger.info(
                    "%s: %d of %d shards, %.0f of %.0f MB, %.1f MB/s, about %.0f s left",
                    *(language, len(done), len(jobs), encoded / 1e6, expected / 1e6, encoded / seconds / 1e6),
                    (expected - encoded) * seconds / max(encoded, 1),
                )
        except BrokenProcessPool:
            raise ArtifactError(f"{source.folder}: a worker was killed, perhaps for memory; use fewer cores") from None
        finally:
            pool.shutdown(cancel_futures=True)
    return done


def _start_worker(threads: int) -> None:
    """Set the encoder's threads, and end with the parent even if that is killed: an orphan must not go on writing."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def encode_shard(job: Job) -> Counts:
    """Write one token shard. Raises DataError when a document's tokens do not stand for its text."""
    encoder = Encoder(job.tokenizer / "tokenizer.json")
    sizes = np.load(job.tokenizer / "token_bytes.npy", allow_pickle=False)
    documents = size = 0
    with ShardWriter(job.prefix, job.dtype) as writer:
        for batch in _batches(texts(job.source)):
            for text, ids in zip(batch, encoder.encode_batch(batch), strict=True):
                length = len(text.encode())
                if int(sizes[ids].sum()) != length or (documents < _DECODED and encoder.decode(ids) != text):
                    raise DataError(
                        f"{job.source}: document {documents} does not come back from its tokens as it was, so "
                        f"{job.tokenizer / 'tokenizer.json'} is not lossless; set another tokenizer.path"
                    )
                writer.add(np.append(ids, np.int32(job.end_of_text)))
                documents += 1
                size += length
        return Counts(documents=documents, tokens=writer.tokens, bytes=size)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Lists of whole documents, each of about 4 MiB or one longer document."""
    batch: list[str] = []
    size = 0
    for text in documents:
        batch.append(text)
        size += len(text.encode())
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _total(split: str, done: dict[Job, Counts], source: Manifest) -> dict[str, int]:
    """Sum a split over its shards; it must be all that the corpus says it has."""
    parts = [counts for job, counts in done.items() if job.split == split]
    total = {name: sum(getattr(part, name) for part in parts) for name in ("documents", "tokens", "bytes")}
    for name in ("documents", "bytes"):
        if total[name] != source.counts[split][name]:
            raise DataError(
                f"{source.folder}: {total[name]} {name} of {split} read, expected {source.counts[split][name]} by its "
                f"{MANIFEST}; delete that and run the corpus stage again"
            )
    return total
