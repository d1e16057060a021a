"""Exact and near duplicates among the kept documents, from the keys that the workers made.

Keys lie on disk, a file for each column, 8 bytes a document and column: 8 · (3 + bands), 136 with 14 bands. In memory
only a few columns are held at a time: about 70 bytes a document, 7 GB for 100 million. Nothing depends on workers:
documents are numbered in input order, and of equal ones the first stays.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

KEPT, EXACT, NEAR = 0, 1, 2
REASONS = {EXACT: "exact_duplicate", NEAR: "near_duplicate"}
_HIGH, _LOW, _BYTES, _FIRST_BAND = range(4)
Numbers = NDArray[np.uint64]


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


def content_hashes(folder: Path) -> Numbers:
    """The high half of each document's content key: uniform, and equal for equal documents."""
    return _load(folder, _HIGH)


def text_bytes(folder: Path) -> Numbers:
    """The UTF-8 bytes of each document's text."""
    return _load(folder, _BYTES)


def verdicts(folder: Path, *, exact: bool, bands: int) -> NDArray[np.uint8]:
    """KEPT, EXACT or NEAR for each document. Near duplicates are sought among what exact removal leaves."""
    verdict = np.zeros(len(_load(folder, _HIGH)), np.uint8)
    if exact:
        verdict[_repeated(_load(folder, _HIGH), _load(folder, _LOW))] = EXACT
    if bands:
        left = np.flatnonzero(verdict == KEPT)
        columns = [_FIRST_BAND + band for band in range(bands)]
        first = _clusters(folder, columns, left)
        verdict[left[first != np.arange(len(left))]] = NEAR
    return verdict


def _repeated(high: Numbers, low: Numbers) -> NDArray[np.int64]:
    """The documents whose key an earlier document has."""
    order = np.lexsort((low, high))
    same = (high[order[1:]] == high[order[:-1]]) & (low[order[1:]] == low[order[:-1]])
    repeated: NDArray[np.int64] = order[1:][same]
    return repeated


def _clusters(folder: Path, columns: list[int], left: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each document of ``left`` the first of its cluster: of all that are joined by chains of shared bands.

    Every round passes the least label on within each bucket and then along labels, until nothing changes. A label
    always names a member of the same cluster, so the end is each cluster's first document. Rounds: two or three.
    """
    label = np.arange(len(left))
    while True:
        before = label.copy()
        for column in columns:
            _spread(_load(folder, column)[left], label)
        while not np.array_equal(label, shorter := label[label]):
            label = shorter
        if np.array_equal(label, before):
            return label


def _spread(bucket: Numbers, label: NDArray[np.int64]) -> None:
    """Give all documents of a bucket the least of their labels, in place."""
    order = np.argsort(bucket, kind="stable")
    ordered = bucket[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    least = np.minimum.reduceat(label[order], starts)
    label[order] = np.repeat(least, np.diff(np.r_[starts, len(order)]))


def _column(folder: Path, number: int) -> Path:
    return folder / f"keys-{number:03d}.u64"


def _load(folder: Path, number: int) -> Numbers:
    return np.fromfile(_column(folder, number), np.uint64)
