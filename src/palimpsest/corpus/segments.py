"""The first pass, cut into segments that survive a killed run.

A segment is a folder of consecutive batches of one source: kept documents (``lines.jsonl.zst``), their keys
(document_keys.py), and ``segment.json``, written last, with its counts and the position where reading resumes. A folder
without it is unfinished and is removed.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from palimpsest.artifact import sync, write_json
from palimpsest.codec import encode, read
from palimpsest.corpus.cleaning.dropped_documents import DroppedDocument, DroppedSample
from palimpsest.corpus.cleaning_workers import CleanedItem
from palimpsest.corpus.deduplication.document_keys import KeyWriter
from palimpsest.corpus.reading.batch_stream import BadFile, Position
from palimpsest.corpus.statistics import CorpusStatistics

# Decompressed input in a segment: a killed run loses at most the cleaning of so much.
SEGMENT_BYTES = 256 << 20
LINES = "lines.jsonl.zst"
_RECORD = "segment.json"


@dataclass(frozen=True, kw_only=True)
class SegmentRecord:
    """The contents of segment.json. ``dropped_sample`` has only documents that the sample of all segments contains."""

    source: str
    next: Position
    documents: int
    dropped: Mapping[str, int]
    masked: Mapping[str, int]
    bad_files: tuple[BadFile, ...]
    dropped_sample: tuple[DroppedDocument, ...]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A finished segment."""

    folder: Path
    source: str


class Segments:
    """The segments in ``folder``, in order: those that an earlier run finished, and then those added here.

    Their counts go into ``statistics`` and their dropped documents into ``sample``.
    """

    def __init__(self, folder: Path, columns: int, statistics: CorpusStatistics, sample: DroppedSample) -> None:
        self._folder, self._columns, self._statistics, self._sample = folder, columns, statistics, sample
        self.finished: list[Segment] = []
        self.next = Position()
        folder.mkdir(exist_ok=True)
        while (self._next_folder / _RECORD).is_file():
            self._add(read(SegmentRecord, self._next_folder / _RECORD))
        for stale in set(folder.iterdir()) - set(self.folders):
            shutil.rmtree(stale)

    @property
    def folders(self) -> list[Path]:
        return [segment.folder for segment in self.finished]

    @property
    def _next_folder(self) -> Path:
        return self._folder / f"{len(self.finished):06d}"

    def _add(self, record: SegmentRecord) -> None:
        self.finished.append(Segment(folder=self._next_folder, source=record.source))
        self.next = record.next
        source = self._statistics.sources[record.source]
        source.documents_in += record.documents
        source.dropped.update(record.dropped)
        self._statistics.masked.update(record.masked)
        self._statistics.bad_files += record.bad_files
        for document in record.dropped_sample:
            self._sample.add(document)

    def extend(self, cleaned: Iterable[CleanedItem]) -> Iterator[CleanedItem]:
        """Write everything that was cleaned, and pass it on."""
        writer: _SegmentWriter | None = None
        for one in cleaned:
            if writer is not None and (writer.source != one.item.source or writer.bytes >= SEGMENT_BYTES):
                self._add(writer.finish(self._sample))
                writer = None
            writer = writer or _SegmentWriter(self._next_folder, one.item.source, self._columns)
            writer.add(one)
            yield one
        if writer is not None:
            self._add(writer.finish(self._sample))


class _SegmentWriter:
    """The segment that is being written."""

    def __init__(self, folder: Path, source: str, columns: int) -> None:
        folder.mkdir()
        self._folder, self.source, self.bytes = folder, source, 0
        self._stack = ExitStack()
        self._lines = self._stack.enter_context((folder / LINES).open("wb"))
        self._keys = self._stack.enter_context(KeyWriter(folder, columns))
        self._next = Position()
        self._documents = 0
        self._dropped: Counter[str] = Counter()
        self._masked: Counter[str] = Counter()
        self._bad_files: list[BadFile] = []
        self._sample = DroppedSample()

    def add(self, cleaned: CleanedItem) -> None:
        item, result = cleaned.item, cleaned.result
        self._next = item.next
        if item.bad_file:
            self._bad_files.append(item.bad_file)
        if item.batch is None or result is None:
            return
        self.bytes += item.batch.size
        self._lines.write(result.lines)
        self._keys.append(result.keys)
        self._documents += result.documents
        self._dropped.update(result.dropped)
        self._masked.update(result.masked)
        for document in result.dropped_sample:
            self._sample.add(document)

    def finish(self, sample: DroppedSample) -> SegmentRecord:
        """Write segment.json; of its dropped documents, only those that ``sample`` contains."""
        self._stack.close()
        for path in self._folder.iterdir():
            sync(path)
        sync(self._folder)
        documents = self._sample.documents()
        for document in documents:
            sample.add(document)
        record = SegmentRecord(
            source=self.source,
            next=self._next,
            documents=self._documents,
            dropped=self._dropped,
            masked=self._masked,
            bad_files=tuple(self._bad_files),
            dropped_sample=tuple(document for document in documents if document in sample),
        )
        write_json(self._folder / _RECORD, encode(record))
        return record
