"""The corpus stage as a whole: read, clean, deduplicate, split, write.

Two passes. The first sends batches of records through the workers in input order and keeps what passed the rules in
``out/.work``, with a row of keys for each document. Then the keys alone decide on duplicates and the split, and the
second pass copies the lines to their shards. Memory: two batches a worker, and what dedup.py says a document.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from palimpsest.artifact import MANIFEST, read_manifest, write_manifest
from palimpsest.corpus import dedup
from palimpsest.corpus.clean import SAMPLES, Cleaned, dropped_line, key_columns
from palimpsest.corpus.pool import clean_all
from palimpsest.corpus.progress import Progress
from palimpsest.corpus.read import Batch, lines, read
from palimpsest.corpus.sources import Input, inputs
from palimpsest.corpus.write import ShardWriter, write_dropped
from palimpsest.errors import DataError
from palimpsest.recipe import placeless

logger = logging.getLogger(__name__)

STAGE = "corpus"
_WORK = ".work"
_DROPPED = "dropped.jsonl.zst"
_SPLITS = ("train", "validation")


def build(spec: dict[str, Any], raw: Path, out: Path, workers: int = 1) -> None:
    """Clean the raw folder of one language into ``out``; the bytes do not depend on ``workers``.

    ``spec``: language, source and corpus as in params.yaml (resolved), revision. Raises DataError for a file that
    cannot be read, or when no document is left for training or validation; ArtifactError for an unfinished ``raw``.
    """
    raw_manifest = read_manifest(raw, "raw")
    files = inputs(spec["source"], raw_manifest)
    _clear(out)
    work = out / _WORK
    work.mkdir(parents=True)
    try:
        tally = _first_pass(spec, files, work, workers)
        paths, counts = _second_pass(spec["corpus"], work, out, tally)
    finally:
        shutil.rmtree(work)
    write_manifest(
        out,
        stage=STAGE,
        params=dict(spec) | {"source": placeless(spec["source"])},
        inputs={"raw": raw_manifest},
        files=paths,
        counts=counts,
    )


class _Tally:
    """How many documents came in, how many went for each reason, and a sample of these."""

    def __init__(self) -> None:
        self.documents = 0
        self.dropped: Counter[str] = Counter()
        self.samples: dict[str, list[dict[str, str]]] = {}

    @property
    def kept(self) -> int:
        return self.documents - self.dropped.total()

    def add(self, cleaned: Cleaned) -> None:
        self.documents += cleaned.documents
        self.dropped += cleaned.dropped
        for sample in cleaned.samples:
            self.sample(sample)

    def sample(self, sample: dict[str, str]) -> None:
        shown = self.samples.setdefault(sample["reason"], [])
        if len(shown) < SAMPLES:
            shown.append(sample)

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.dropped.most_common())
        return f"{self.kept:,} of {self.documents:,} documents kept; dropped: {reasons or 'none'}"


def _clear(out: Path) -> None:
    """Take away what an earlier or killed run left. The manifest first: without it the folder does not exist."""
    (out / MANIFEST).unlink(missing_ok=True)
    for folder in (*_SPLITS, _WORK):
        shutil.rmtree(out / folder, ignore_errors=True)
    for file in (out / _DROPPED, *out.glob(".*.tmp")):
        file.unlink(missing_ok=True)


def _first_pass(spec: Mapping[str, Any], files: list[Input], work: Path, workers: int) -> _Tally:
    tally = _Tally()
    total = sum(file.bytes for file in files)
    progress = Progress(spec["language"], total)
    columns = key_columns(spec["corpus"]["minhash"])
    with (work / "kept.jsonl.zst").open("wb") as kept, dedup.KeyWriter(work, columns) as keys:
        for cleaned in clean_all(_batches(files, spec["source"]), spec, workers, total):
            kept.write(cleaned.lines)
            keys.append(cleaned.keys)
            tally.add(cleaned)
            progress.show(cleaned.end, tally.documents, tally.kept)
    return tally


def _batches(files: list[Input], source: Mapping[str, Any]) -> Iterator[Batch]:
    """The batches of all files in order, ``end`` counted through them."""
    # Parts that the raw stage wrote have these keys whatever the source calls its own.
    text, id_key = (source["text"], source["id"]) if source["kind"] == "local" else ("text", "id")
    before = 0
    for file in files:
        file.verify()
        for batch in read(file.path, file.name, text, id_key):
            yield Batch(name=batch.name, first=batch.first, end=before + batch.end, data=batch.data)
        before += file.bytes


def _second_pass(corpus: Mapping[str, Any], work: Path, out: Path, tally: _Tally) -> tuple[list[Path], dict[str, Any]]:
    """Write shards and samples; the files, and the counts for the manifest."""
    bands = corpus["minhash"]["bands"] if corpus["minhash"] else 0
    verdicts = dedup.verdicts(work, exact=corpus["exact_dedup"], bands=bands) if tally.kept else np.empty(0, np.uint8)
    held_out = dedup.content_hashes(work) < np.uint64(int(corpus["validation_fraction"] * 2.0**64))
    for code, reason in dedup.REASONS.items():
        tally.dropped += Counter({reason: int(np.count_nonzero(verdicts == code))})
    _check(tally, held_out[verdicts == dedup.KEPT], corpus["validation_fraction"])
    splits = _write_shards(work, out, corpus["shard_mb"] * 10**6, verdicts, held_out, tally)
    write_dropped(out / _DROPPED, tally.samples)
    logger.info("%s", tally)
    counts = {"documents_in": tally.documents, "dropped": dict(tally.dropped)}
    paths = [path for split in splits.values() for path in split.paths]
    return [*paths, out / _DROPPED], counts | {name: split.counts() for name, split in splits.items()}


def _check(tally: _Tally, held_out: NDArray[np.bool_], fraction: float) -> None:
    """Raise DataError unless both splits have documents."""
    if not len(held_out):
        raise DataError(f"{tally}; loosen corpus.filters or corpus.min_language_score, or look at the source")
    if not held_out.any():
        raise DataError(
            f"none of the {len(held_out):,} documents left fell to validation; raise corpus.validation_fraction, "
            f"which is {fraction}, or add documents"
        )
    if held_out.all():
        raise DataError(
            f"all of the {len(held_out):,} documents left fell to validation; lower corpus.validation_fraction, "
            f"which is {fraction}, or add documents"
        )


def _write_shards(
    work: Path, out: Path, shard_bytes: int, verdicts: NDArray[np.uint8], held_out: NDArray[np.bool_], tally: _Tally
) -> dict[str, ShardWriter]:
    """Copy each kept line to its split, and show the duplicates among the dropped."""
    sizes = dedup.text_bytes(work)
    with ShardWriter(out / "train", shard_bytes) as train, ShardWriter(out / "validation", shard_bytes) as validation:
        for number, line in enumerate(lines(work / "kept.jsonl.zst")):
            if reason := dedup.REASONS.get(int(verdicts[number])):
                if len(tally.samples.get(reason, ())) < SAMPLES:
                    document = orjson.loads(line)
                    tally.sample(dropped_line(document["id"], reason, document["text"]))
                continue
            split = validation if held_out[number] else train
            split.write(line, int(sizes[number]))
    return {"train": train, "validation": validation}
