"""The keys of documents on disk, by which duplicates are found: in each folder one file of uint64 for each column.

Columns are the high and the low half of the content key, the UTF-8 bytes of the text, and the MinHash band hashes:
8 · (3 + bands) bytes a document, 136 with 14 bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

HIGH, LOW, TEXT_BYTES, FIRST_BAND = range(4)
# Documents in one read of a column.
_READ_DOCUMENTS = 1 << 18
Keys = NDArray[np.uint64]


def content_key(text: str) -> tuple[int, int]:
    """The xxh3-128 of a text, as two 64-bit numbers; it ignores case and the amount of white space."""
    digest = xxhash.xxh3_128_intdigest(" ".join(text.casefold().split()).encode())
    return digest >> 64, digest & (1 << 64) - 1


class KeyWriter:
    """Appends keys to the column files in ``folder``."""

    def __init__(self, folder: Path, columns: int) -> None:
        self._stack = ExitStack()
        self._paths = [_column_file(folder, number) for number in range(columns)]
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Self:
        self._files = [self._stack.enter_context(path.open("wb")) for path in self._paths]
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def append(self, keys: Keys) -> None:
        """Append keys shaped (documents, columns)."""
        for file, column in zip(self._files, keys.T, strict=True):
            file.write(column.tobytes())


class KeyReader:
    """The keys in several folders, as one sequence of documents."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._sizes = {folder: _column_file(folder, HIGH).stat().st_size // 8 for folder in folders}

    def __len__(self) -> int:
        return sum(self._sizes.values())

    def column(self, number: int) -> Keys:
        """The whole of one column: 8 bytes a document."""
        column = np.empty(len(self), np.uint64)
        for first, keys in self.read([number]):
            column[first : first + len(keys)] = keys[:, 0]
        return column

    def read(self, columns: Sequence[int]) -> Iterator[tuple[int, Keys]]:
        """Some columns side by side, piece by piece, each with the number of its first document."""
        first = 0
        for folder, size in self._sizes.items():
            for start in range(0, size, _READ_DOCUMENTS):
                count = min(_READ_DOCUMENTS, size - start)
                keys = np.empty((count, len(columns)), np.uint64)
                for index, number in enumerate(columns):
                    keys[:, index] = np.fromfile(_column_file(folder, number), np.uint64, count, offset=8 * start)
                yield first + start, keys
            first += size


def _column_file(folder: Path, number: int) -> Path:
    return folder / f"keys-{number:03d}.u64"
