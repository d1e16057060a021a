"""Write the corpus folder: shards of kept documents, and the sample of dropped ones."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import zstandard

from palimpsest.artifact import atomic_file

# One frame and no threads, so that the same lines give the same bytes.
_LEVEL = 3


class ShardWriter:
    """Writes JSON lines into ``prefix``-00000.jsonl.zst …, a new shard once ``shard_bytes`` of text are in one.

    ``paths``, ``documents`` and ``bytes`` (of text) say what was written.
    """

    def __init__(self, prefix: Path, shard_bytes: int) -> None:
        self._prefix, self._shard_bytes = prefix, shard_bytes
        self._shard, self._filled = ExitStack(), 0
        self._file: zstandard.ZstdCompressionWriter | None = None
        self.paths: list[Path] = []
        self.documents = self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shard.__exit__(kind, error, trace)

    def write(self, line: bytes, text_bytes: int) -> None:
        """Add a line, its line feed included."""
        if self._file is None or self._filled >= self._shard_bytes:
            self._next()
        assert self._file is not None
        self._file.write(line)
        self._filled += text_bytes
        self.documents += 1
        self.bytes += text_bytes

    def _next(self) -> None:
        self._shard.close()
        path = self._prefix.with_name(f"{self._prefix.name}-{len(self.paths):05d}.jsonl.zst")
        file = self._shard.enter_context(atomic_file(path))
        self._file = self._shard.enter_context(
            zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False)
        )
        self._filled = 0
        self.paths.append(path)

    def counts(self) -> dict[str, int]:
        """For the manifest."""
        return {"documents": self.documents, "bytes": self.bytes}


def write_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write JSON lines to one file."""
    with (
        atomic_file(path) as file,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as packed,
    ):
        for entry in entries:
            packed.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS))
