"""Exact and near duplicates among the kept documents, from the keys that the workers made.

Keys lie on disk in one folder or several, a file for each column: 8 · (3 + bands) bytes a document, 136 with 14 bands.
In memory ``verdicts`` holds 5 bytes a document (9 from 2^32 documents on) and a table of at most 168 MB, since keys are
taken in passes of _PASS documents: 203 MB was measured for 5 million documents, 303 MB for 25 million. Nothing depends
on workers or on how documents are divided among folders: they are numbered in input order, and of equal ones the first
stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from palimpsest.corpus import kernel

KEPT, EXACT, NEAR = 0, 1, 2
REASONS = {EXACT: "exact_duplicate", NEAR: "near_duplicate"}
_HIGH, _LOW, _BYTES, _FIRST_BAND = range(4)
# Documents in a pass over a column, and in a read. More passes cost reading, fewer cost memory.
_PASS = 4_000_000
_READ = 1 << 18
Numbers = NDArray[np.uint64]
Verdicts = NDArray[np.uint8]


class KeyWriter:
    """Appends rows of keys to the column files in ``folder``."""

    def __init__(self, folder: Path, columns: int) -> None:
        self._stack = ExitStack()
        self._paths = [_column(folder, number) for number in range(columns)]
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Self:
        self._files = [self._stack.enter_context(path.open("wb")) for path in self._paths]
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def append(self, rows: Numbers) -> None:
        for file, column in zip(self._files, rows.T, strict=True):
            file.write(column.tobytes())


class _Keys:
    """The keys in several folders, as one sequence of documents."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._sizes = {folder: _column(folder, _HIGH).stat().st_size // 8 for folder in folders}

    def __len__(self) -> int:
        return sum(self._sizes.values())

    def column(self, number: int) -> Numbers:
        """The whole of one column."""
        whole = np.empty(len(self), np.uint64)
        for first, rows in self.rows([number]):
            whole[first : first + len(rows)] = rows[:, 0]
        return whole

    def rows(self, columns: Sequence[int]) -> Iterator[tuple[int, Numbers]]:
        """Pieces of some columns side by side, each with the number of its first document."""
        first = 0
        for folder, size in self._sizes.items():
            for start in range(0, size, _READ):
                count = min(_READ, size - start)
                rows = np.empty((count, len(columns)), np.uint64)
                for place, number in enumerate(columns):
                    rows[:, place] = np.fromfile(_column(folder, number), np.uint64, count, offset=8 * start)
                yield first + start, rows
            first += size


def content_hashes(folders: Sequence[Path]) -> Numbers:
    """The high half of each document's content key: uniform, and equal for equal documents. 8 bytes a document."""
    return _Keys(folders).column(_HIGH)


def text_bytes(folders: Sequence[Path]) -> Numbers:
    """The UTF-8 bytes of each document's text. 8 bytes a document."""
    return _Keys(folders).column(_BYTES)


def verdicts(folders: Sequence[Path], *, exact: bool, bands: int) -> Verdicts:
    """KEPT, EXACT or NEAR for each document. Near duplicates are sought among what exact removal leaves."""
    keys = _Keys(folders)
    verdict = np.full(len(keys), KEPT, np.uint8)
    if exact:
        _judge(keys, [(_HIGH, _LOW)], verdict, EXACT)
    if bands:
        _judge(keys, [(_FIRST_BAND + band,) for band in range(bands)], verdict, NEAR)
    return verdict


def _judge(keys: _Keys, groups: Sequence[tuple[int, ...]], verdict: Verdicts, code: int) -> None:
    """Give ``code`` to all but the first document of each cluster: of all that are joined by chains of equal keys.

    Documents are equal in a group of columns when all columns of it are. One without equals costs a look-up a group.
    """
    count = len(keys)
    parent = _numbers(count)
    passes = max(1, -(-count // _PASS))
    # Half free, since a look-up ends at a free slot: a pass gets as many as the others, give or take a few.
    slots = 1 << (2 * count // passes + 64).bit_length()
    owners = np.empty(slots, parent.dtype)
    table = np.empty((slots, len(groups[0])), np.uint64)
    for columns in groups:
        for number in range(passes):
            owners.fill(0)
            for first, rows in keys.rows(columns):
                kernel.join(rows, first, verdict, passes, number, table, owners, parent)
    kernel.mark(parent, verdict, code)


def _numbers(count: int) -> kernel.Documents:
    return np.arange(count, dtype=np.uint32) if count < 1 << 32 else np.arange(count, dtype=np.uint64)


def _column(folder: Path, number: int) -> Path:
    return folder / f"keys-{number:03d}.u64"
