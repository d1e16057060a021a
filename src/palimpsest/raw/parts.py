"""Documents as numbered JSONL.zst parts, and the quota of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from palimpsest.artifact import atomic_file

# Bytes in a part before compression.
PART_BYTES = 256_000_000


@dataclass(frozen=True, kw_only=True)
class Written:
    """Counts of the lines, bytes and parts that were written."""

    documents: int
    bytes: int
    parts: int


def part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.jsonl.zst"


def write_parts(lines: Iterable[bytes], folder: Path, first: int = 0) -> Written:
    """Write parts numbered from ``first``, each atomically; memory does not grow with their number."""
    remaining, documents, size, number = iter(lines), 0, 0, first
    line = next(remaining, None)
    while line is not None:
        filled = 0
        with (
            atomic_file(part(folder, number)) as file,
            zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as compressed,
        ):
            while line is not None and filled < PART_BYTES:
                compressed.write(line)
                filled, documents = filled + len(line), documents + 1
                line = next(remaining, None)
        size, number = size + filled, number + 1
    return Written(documents=documents, bytes=size, parts=number - first)


def write_lines(lines: Iterable[bytes], path: Path) -> None:
    """Write one file of lines, atomically."""
    with atomic_file(path) as file, zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as compressed:
        for line in lines:
            compressed.write(line)


def remove_parts(folder: Path, first: int) -> None:
    """Remove the parts numbered from ``first``, and the temporary files of a killed run."""
    for path in folder.glob("part-*.jsonl.zst"):
        if path.name >= part(folder, first).name:
            path.unlink()
    for path in folder.glob(".*.tmp"):
        path.unlink()


@dataclass
class Quota:
    """The documents and bytes that may still be read (None: unlimited); ``full`` once a line did not fit."""

    documents: int | None
    size: int | None
    full: bool = False

    @property
    def spent(self) -> bool:
        return self.documents == 0 or self.size == 0

    def take(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines before the first that does not fit."""
        for line in lines:
            if self.documents == 0 or (self.size is not None and len(line) > self.size):
                self.full = True
                return
            self.spend(1, len(line))
            yield line

    def spend(self, documents: int, size: int) -> None:
        if self.documents is not None:
            self.documents -= documents
        if self.size is not None:
            self.size -= size
