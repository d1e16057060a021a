"""The second pass: drop duplicates by the keys of all segments, split off validation, and copy lines to their shards.

Memory: that of deduplication/duplicates.py, and 10 bytes a document (verdict, split, bytes of text).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from palimpsest.corpus.cleaning.dropped_documents import DroppedDocument, DroppedSample
from palimpsest.corpus.deduplication import duplicates
from palimpsest.corpus.reading.read_file import read_lines
from palimpsest.corpus.segments import LINES, Segments
from palimpsest.corpus.shard_writer import ShardWriter
from palimpsest.corpus.statistics import CorpusStatistics
from palimpsest.errors import DataError
from palimpsest.specs.data import CorpusSpec

SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class _Decisions:
    """For each document in order: the verdict on duplicates, whether it is held out, and the bytes of its text."""

    verdicts: NDArray[np.uint8]
    held_out: NDArray[np.bool_]
    text_bytes: NDArray[np.uint64]


def deduplicate_and_split(
    segments: Segments, spec: CorpusSpec, out: Path, statistics: CorpusStatistics, sample: DroppedSample
) -> list[Path]:
    """Write ``out``/train and ``out``/validation and complete ``statistics`` and ``sample``; the files in order.

    Raises DataError when either split would be empty.
    """
    if not statistics.total.kept:
        if not statistics.total.documents_in:
            raise DataError("the sources hold no documents; check corpus.sources")
        raise DataError(f"{statistics}; loosen corpus.filters or corpus.min_language_score, or check the sources")
    minhash = spec.cleaning.minhash
    decisions = _Decisions(
        verdicts=duplicates.find_duplicates(
            segments.folders, exact=spec.cleaning.exact_dedup, bands=minhash.bands if minhash else 0
        ),
        held_out=duplicates.content_hashes(segments.folders) < np.uint64(int(spec.validation_fraction * 2.0**64)),
        text_bytes=duplicates.text_bytes(segments.folders),
    )
    _check_splits(decisions, spec.validation_fraction)
    numbered = enumerate(_lines(segments))
    paths = []
    for source, part in groupby(numbered, key=lambda item: item[1][0]):
        lines = ((number, line) for number, (_, line) in part)
        with ExitStack() as stack:
            prefixes = [out / split / source for split in SPLITS]
            writers = [stack.enter_context(ShardWriter(prefix, spec.shard_mb * 10**6)) for prefix in prefixes]
            _copy_lines(source, lines, decisions, writers, statistics, sample)
        train, validation = writers
        statistics.sources[source].train = train.statistics
        statistics.sources[source].validation = validation.statistics
        paths += [*train.paths, *validation.paths]
    return paths


def _lines(segments: Segments) -> Iterator[tuple[str, bytes]]:
    for segment in segments.finished:
        # A segment of which nothing was kept has no zstd frame.
        if (segment.folder / LINES).stat().st_size:
            for line in read_lines(segment.folder / LINES):
                yield segment.source, line


def _copy_lines(
    source: str,
    numbered: Iterable[tuple[int, bytes]],
    decisions: _Decisions,
    writers: list[ShardWriter],
    statistics: CorpusStatistics,
    sample: DroppedSample,
) -> None:
    """Copy each kept line of one source to its split, and count the duplicates among the dropped."""
    train, validation = writers
    dropped = statistics.sources[source].dropped
    for number, line in numbered:
        if reason := duplicates.REASONS.get(int(decisions.verdicts[number])):
            document = orjson.loads(line)
            dropped[reason] += 1
            sample.add(DroppedDocument.of(document["id"], source, reason, document["text"]))
            continue
        split = validation if decisions.held_out[number] else train
        split.write(line, int(decisions.text_bytes[number]))


def _check_splits(decisions: _Decisions, fraction: float) -> None:
    held_out = decisions.held_out[decisions.verdicts == duplicates.KEPT]
    if not held_out.any():
        raise DataError(
            f"none of the {len(held_out):,} remaining documents is in the validation split; raise "
            f"corpus.validation_fraction, which is {fraction}, or add documents"
        )
    if held_out.all():
        raise DataError(
            f"all of the {len(held_out):,} remaining documents are in the validation split; lower "
            f"corpus.validation_fraction, which is {fraction}, or add documents"
        )
