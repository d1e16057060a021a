"""Finds exact and near duplicates among the documents that passed the rules, by their keys.

Documents are numbered in input order, and of equal ones the first is kept, so the result depends neither on workers nor
on how documents are divided among folders. In memory ``find_duplicates`` holds 5 bytes a document (9 from 2^32
documents on) and a hash table of at most 168 MB, since keys are read in passes of _PASS_DOCUMENTS: 203 MB was measured
for 5 million documents, 303 MB for 25 million.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palimpsest.corpus.deduplication import kernels
from palimpsest.corpus.deduplication.document_keys import FIRST_BAND, HIGH, LOW, TEXT_BYTES, KeyReader, Keys

KEPT, EXACT, NEAR = 0, 1, 2
REASONS = {EXACT: "exact_duplicate", NEAR: "near_duplicate"}
# Documents in a pass over a column. More passes cost reading, fewer cost memory.
_PASS_DOCUMENTS = 4_000_000
Verdicts = NDArray[np.uint8]


def content_hashes(folders: Sequence[Path]) -> Keys:
    """The high half of each document's content key: uniform, and equal for equal documents. 8 bytes a document."""
    return KeyReader(folders).column(HIGH)


def text_bytes(folders: Sequence[Path]) -> Keys:
    """The UTF-8 bytes of each document's text. 8 bytes a document."""
    return KeyReader(folders).column(TEXT_BYTES)


def find_duplicates(folders: Sequence[Path], *, exact: bool, bands: int) -> Verdicts:
    """KEPT, EXACT or NEAR for each document. Near duplicates are looked for among what exact removal leaves."""
    keys = KeyReader(folders)
    verdicts = np.full(len(keys), KEPT, np.uint8)
    if exact:
        _mark_duplicates(keys, [(HIGH, LOW)], verdicts, EXACT)
    if bands:
        _mark_duplicates(keys, [(FIRST_BAND + band,) for band in range(bands)], verdicts, NEAR)
    return verdicts


def _mark_duplicates(keys: KeyReader, groups: Sequence[tuple[int, ...]], verdicts: Verdicts, code: int) -> None:
    """Write ``code`` for all but the first document of each cluster: of all that chains of equal keys connect.

    Documents are equal in a group of columns when all columns of it are. One without equals costs a look-up a group.
    """
    count = len(keys)
    parents = _document_numbers(count)
    passes = max(1, -(-count // _PASS_DOCUMENTS))
    # Half free, since a look-up ends at a free slot: a pass gets as many as the others, give or take a few.
    slots = 1 << (2 * count // passes + 64).bit_length()
    owners = np.empty(slots, parents.dtype)
    table = np.empty((slots, len(groups[0])), np.uint64)
    for columns in groups:
        for number in range(passes):
            owners.fill(0)
            for first, rows in keys.read(columns):
                kernels.join_clusters(rows, first, verdicts, passes, number, table, owners, parents)
    kernels.mark_duplicates(parents, verdicts, code)


def _document_numbers(count: int) -> kernels.Documents:
    return np.arange(count, dtype=np.uint32) if count < 1 << 32 else np.arange(count, dtype=np.uint64)
