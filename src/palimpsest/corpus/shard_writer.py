"""Writes the corpus folder's files: shards of kept documents, and the sample of dropped ones."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
import zstandard

from palimpsest.artifact import atomic_file
from palimpsest.corpus.cleaning.dropped_documents import DroppedDocument
from palimpsest.corpus.statistics import SplitStatistics

# One frame and no threads, so that the same lines give the same bytes.
_LEVEL = 3


class ShardWriter:
    """Writes JSON lines into ``prefix``-00000.jsonl.zst …, and starts a new shard after ``shard_bytes`` of text.

    ``paths`` and ``statistics`` describe what was written.
    """

    def __init__(self, prefix: Path, shard_bytes: int) -> None:
        self._prefix, self._shard_bytes = prefix, shard_bytes
        self._shard, self._filled = ExitStack(), 0
        self._file: zstandard.ZstdCompressionWriter | None = None
        self.paths: list[Path] = []
        self.statistics = SplitStatistics()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shard.__exit__(kind, error, trace)

    def write(self, line: bytes, text_bytes: int) -> None:
        """Add a line, its line feed included."""
        if self._file is None or self._filled >= self._shard_bytes:
            self._start_shard()
        assert self._file is not None
        self._file.write(line)
        self._filled += text_bytes
        self.statistics.documents += 1
        self.statistics.bytes += text_bytes

    def _start_shard(self) -> None:
        self._shard.close()
        path = self._prefix.with_name(f"{self._prefix.name}-{len(self.paths):05d}.jsonl.zst")
        file = self._shard.enter_context(atomic_file(path))
        self._file = self._shard.enter_context(
            zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False)
        )
        self._filled = 0
        self.paths.append(path)


def write_dropped(path: Path, documents: Iterable[DroppedDocument]) -> None:
    """Write dropped.jsonl.zst."""
    with (
        atomic_file(path) as file,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as compressed,
    ):
        for document in documents:
            options = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
            compressed.write(orjson.dumps(vars(document), option=options))
