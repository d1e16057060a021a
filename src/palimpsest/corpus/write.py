"""Write the corpus folder: shards of kept documents, and the sample of dropped ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """Writes JSON lines into ``folder``/00000.jsonl.zst …, a new shard once ``shard_bytes`` of text are in one.

    ``paths``, ``documents`` and ``bytes`` (of text) say what was written.
    """

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._shard_bytes = folder, shard_bytes
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
        path = self._folder / f"{len(self.paths):05d}.jsonl.zst"
        file = self._shard.enter_context(atomic_file(path))
        self._file = self._shard.enter_context(
            zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False)
        )
        self._filled = 0
        self.paths.append(path)

    def counts(self) -> dict[str, int]:
        """For the manifest."""
        return {"documents": self.documents, "bytes": self.bytes}


def write_dropped(path: Path, samples: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write the dropped documents of each reason, reasons in name order."""
    with (
        atomic_file(path) as file,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as packed,
    ):
        for reason in sorted(samples):
            for sample in samples[reason]:
                packed.write(orjson.dumps(sample, option=orjson.OPT_APPEND_NEWLINE))
