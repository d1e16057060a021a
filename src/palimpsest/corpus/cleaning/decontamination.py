"""Finds training documents that contain text of evaluation sets, by n-grams that both share.

Units are those of near-duplicates (shingles.py): words, or visible characters for languages without spaces, folded to
one case, so that spaces, case and (for words) punctuation do not hide a copy. Memory: 8 bytes for each distinct n-gram
of the evaluation sets, up to four more for a filter, and about 20 bytes a character of the texts that are searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from palimpsest.corpus.deduplication import kernels
from palimpsest.corpus.deduplication.shingles import character_tables, code_points, is_spaced
from palimpsest.corpus.reading.read_file import read_file
from palimpsest.errors import DataError
from palimpsest.file_types import Format, extensions, file_type

Hashes = NDArray[np.uint64]
# At least so many bits of the filter for each known hash: at most one n-gram in 16 is looked up without a match.
_FILTER_BITS = 16


def evaluation_hashes(paths: Sequence[Path], language: str, ngram: int) -> Hashes:
    """The sorted distinct hashes of all n-grams of ``ngram`` units in the string values of all records.

    Lists and objects are searched for values; keys are not text. Each value is used alone: one of fewer than ``ngram``
    units gives nothing, so a set of short questions may be covered in part or not at all. Raises DataError for a file
    that is not JSON Lines or cannot be read, and for a record that is not a JSON object.
    """
    found = np.empty(0, np.uint64)
    for path in paths:
        for texts in _texts(path):
            found = np.concatenate((found, _ngram_hashes(texts, language, ngram)[0]))
            # Not np.unique: its hash table takes fifty times as long.
            found.sort()
            found = found[np.append(True, found[1:] != found[:-1])[: len(found)]]
    return found


class ContaminationDetector:
    """Finds texts that share an n-gram of ``ngram`` units with the evaluation sets of the sorted ``hashes``."""

    def __init__(self, hashes: Hashes, language: str, ngram: int) -> None:
        self._hashes, self._language, self._ngram = hashes, language, ngram
        self._filter = np.zeros(1 << (len(hashes) * _FILTER_BITS // 64).bit_length(), np.uint64)
        kernels.fill_filter(hashes, self._filter)

    def find(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each text has an n-gram in common with the evaluation sets."""
        hashes, ends = _ngram_hashes(texts, self._language, self._ngram)
        contaminated = np.empty(len(texts), np.bool_)
        kernels.any_known(hashes, ends, self._hashes, self._filter, contaminated)
        return contaminated


def _ngram_hashes(texts: Sequence[str], language: str, ngram: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes of the n-grams of all texts concatenated, and the end offset of each text."""
    codes, ends = code_points(texts)
    word, visible = character_tables()
    hashes, hash_ends = np.empty(len(codes), np.uint64), np.empty(len(texts), np.int64)
    by_words = is_spaced(language)
    kernels.shingle_hashes(codes, ends, word if by_words else visible, by_words, ngram, hashes, hash_ends)
    return hashes[: hash_ends[-1] if len(hash_ends) else 0], hash_ends


def _texts(path: Path) -> Iterator[list[str]]:
    """The string values of a file, in lists for a few MiB of it."""
    found = file_type(path.name)
    if found is None or found.format is not Format.JSON_LINES:
        raise DataError(f"{path}: expected an evaluation set whose name ends in {extensions(Format.JSON_LINES)}")
    for batch in read_file(path, str(path), "", ""):
        if not isinstance(batch.data, bytes):
            raise DataError(f"{path}:{batch.first}: a line of {batch.size:,} bytes is too long for an evaluation set")
        texts: list[str] = []
        for number, line in enumerate(batch.data.split(b"\n"), batch.first):
            if line and not line.isspace():
                texts.extend(_strings(_parse(line, f"{path}:{number}")))
        yield texts


def _parse(line: bytes, where: str) -> dict[str, object]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error}); correct this line of the evaluation set") from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(value).__name__}; correct the evaluation set")
    return value


def _strings(value: object) -> Iterator[str]:
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            stack.extend(value if isinstance(value, list) else value.values())
