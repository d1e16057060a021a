"""All the batches of a language in order, from any place on: its sources, their files, the batches of each."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from palimpsest.corpus.read import read
from palimpsest.corpus.records import Batch
from palimpsest.corpus.sources import Input, Source
from palimpsest.errors import DataError

logger = logging.getLogger(__name__)


class Position(NamedTuple):
    """Where to read on: the numbers of source and file, batches of it that were read, and the source's bytes so far."""

    source: int = 0
    file: int = 0
    batch: int = 0
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Task:
    """A batch to clean, or a ``problem`` with a file; ``next`` is the position after it.

    ``done`` counts the bytes of input files before it, of which ``Stream.bytes`` are all.
    """

    source: str
    next: Position
    done: int
    batch: Batch | None = None
    problem: dict[str, str] | None = None


class Stream:
    """The tasks of a language. ``skip_bad``: go on after a damaged file, with a task that tells of it."""

    def __init__(self, sources: list[Source], skip_bad: bool) -> None:
        self._sources, self._skip_bad = sources, skip_bad
        self.bytes = sum(file.bytes for source in sources for file in source.files)

    def tasks(self, start: Position) -> Iterator[Task]:
        """From ``start`` on. Raises DataError for a file that changed, and for a damaged one unless ``skip_bad``.

        Files before ``start`` are not opened; of the file that it points into, batches before it are read again.
        """
        done = 0
        for number, source in enumerate(self._sources):
            if number >= start.source:
                yield from self._source(source, start if number == start.source else Position(number), done)
            done += sum(file.bytes for file in source.files)

    def _source(self, source: Source, start: Position, done: int) -> Iterator[Task]:
        at = start
        for number, file in enumerate(source.files):
            if number >= start.file:
                at = Position(at.source, number, start.batch if number == start.file else 0, at.bytes)
                for task in self._file(source, file, at, done):
                    yield task
                    if task.next.source > at.source:
                        return
                    at = task.next
            done += file.bytes

    def _file(self, source: Source, file: Input, at: Position, done: int) -> Iterator[Task]:
        """The tasks of one file; the last one's ``next`` is the next source where ``max_bytes`` are used up."""
        file.verify()
        try:
            for number, batch in enumerate(read(file.path, file.name, source.text, source.id), 1):
                if number <= at.batch:
                    continue
                whole = batch if source.max_bytes is None else batch.within(source.max_bytes - at.bytes)
                at = Position(at.source, at.file, number, at.bytes + whole.size)
                full = whole is not batch
                after = Position(at.source + 1) if full else at
                yield Task(source=source.name, next=after, done=done + batch.end, batch=whole)
                if full:
                    return
        except DataError as error:
            problem = str(error).removeprefix(f"{file.name}: ")
            if not self._skip_bad:
                raise DataError(f"{file.path}: {problem}; or set corpus.on_bad_file to skip") from None
            logger.warning("%s: %s; went on with the next file", file.path, problem)
            yield Task(
                source=source.name,
                next=Position(at.source, at.file + 1, 0, at.bytes),
                done=done + file.bytes,
                problem={"source": source.name, "name": file.name, "problem": problem},
            )
