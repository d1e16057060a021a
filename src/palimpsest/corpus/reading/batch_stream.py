"""All the batches of a language in order, from any position on: its sources, their files, the batches of each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from palimpsest.corpus.reading.read_file import read_file
from palimpsest.corpus.reading.records import Batch
from palimpsest.corpus.reading.source_files import SourceFile, SourceFiles
from palimpsest.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """Where reading resumes: indices of source and file, batches read of that file, and bytes read of the source."""

    source: int = 0
    file: int = 0
    batch: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class BadFile:
    """A file that could not be read to its end, as the manifest lists it."""

    source: str
    name: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class StreamItem:
    """A batch to clean, or a bad file; ``next`` is the position after it.

    ``bytes_done`` counts the bytes of input files before ``next``, out of ``BatchStream.bytes``.
    """

    source: str
    next: Position
    bytes_done: int
    batch: Batch | None = None
    bad_file: BadFile | None = None


class BatchStream:
    """The batches of all sources. With ``skip_bad`` a corrupt file is reported as an item and reading continues."""

    def __init__(self, sources: list[SourceFiles], skip_bad: bool) -> None:
        self._sources, self._skip_bad = sources, skip_bad
        self.bytes = sum(file.bytes for source in sources for file in source.files)

    def items(self, start: Position) -> Iterator[StreamItem]:
        """The items from ``start`` on.

        Raises DataError for a file that changed, and for a corrupt one unless ``skip_bad``. Files before ``start`` are
        not opened; of the file that it points into, earlier batches are read again.
        """
        done = 0
        for number, source in enumerate(self._sources):
            if number >= start.source:
                yield from self._source_items(source, start if number == start.source else Position(number), done)
            done += sum(file.bytes for file in source.files)

    def _source_items(self, source: SourceFiles, start: Position, done: int) -> Iterator[StreamItem]:
        position = start
        for number, file in enumerate(source.files):
            if number >= start.file:
                batch = start.batch if number == start.file else 0
                position = Position(position.source, number, batch, position.bytes)
                for item in self._file_items(source, file, position, done):
                    yield item
                    if item.next.source > position.source:
                        return
                    position = item.next
            done += file.bytes

    def _file_items(self, source: SourceFiles, file: SourceFile, position: Position, done: int) -> Iterator[StreamItem]:
        """The items of one file; the last one's ``next`` is the next source where ``max_bytes`` are used up."""
        file.verify()
        try:
            batches = read_file(file.path, file.name, source.text_column, source.id_column)
            for number, batch in enumerate(batches, 1):
                if number <= position.batch:
                    continue
                used = batch if source.max_bytes is None else batch.truncate(source.max_bytes - position.bytes)
                position = Position(position.source, position.file, number, position.bytes + used.size)
                full = used is not batch
                after = Position(position.source + 1) if full else position
                yield StreamItem(source=source.name, next=after, bytes_done=done + batch.end, batch=used)
                if full:
                    return
        except DataError as error:
            problem = str(error).removeprefix(f"{file.name}: ")
            if not self._skip_bad:
                raise DataError(f"{file.path}: {problem}, or set corpus.on_bad_file: skip") from None
            logger.warning("%s: %s; continuing with the next file", file.path, problem)
            yield StreamItem(
                source=source.name,
                next=Position(position.source, position.file + 1, 0, position.bytes),
                bytes_done=done + file.bytes,
                bad_file=BadFile(source=source.name, name=file.name, problem=problem),
            )
