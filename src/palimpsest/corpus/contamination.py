"""Training documents that hold text of the evaluation sets, by runs of units that both share.

Units are those of near-duplicates (letters.py): words, or visible characters for languages without spaces, folded to
one case, so that spaces, case and (for words) punctuation do not hide a copy. Memory: 8 bytes for each distinct run of
the evaluation sets, up to four more for a filter, and while texts are looked into about 20 bytes a character of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from palimpsest.corpus import kernel
from palimpsest.corpus.letters import packed, spaced, tables
from palimpsest.corpus.read import read
from palimpsest.errors import DataError

Hashes = NDArray[np.uint64]
_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
# Fewest bits of the filter for each known hash: at most one text run in 16 is looked up in vain.
_FILTER_BITS = 16


def evaluation_hashes(paths: Sequence[Path], language: str, ngram: int) -> Hashes:
    """The sorted distinct hashes of all runs of ``ngram`` units in the string values of all records.

    Values are sought through lists and objects; keys are not text. Each value stands alone: one of fewer than
    ``ngram`` units gives nothing, so that a set of short questions may be kept out in part or not at all. Raises
    DataError for a file that is no JSON lines or cannot be read, and for a record that is no JSON object.
    """
    found = np.empty(0, np.uint64)
    for path in paths:
        for texts in _texts(path):
            found = np.concatenate((found, _runs(texts, language, ngram)[0]))
            # Not np.unique: its hash table takes fifty times as long.
            found.sort()
            found = found[np.append(True, found[1:] != found[:-1])[: len(found)]]
    return found


class Contamination:
    """Finds texts that share a run of ``ngram`` units with the evaluation sets whose sorted ``hashes`` are given."""

    def __init__(self, hashes: Hashes, language: str, ngram: int) -> None:
        self._hashes, self._language, self._ngram = hashes, language, ngram
        self._filter = np.zeros(1 << (len(hashes) * _FILTER_BITS // 64).bit_length(), np.uint64)
        kernel.fill_filter(hashes, self._filter)

    def found(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each text has a run in common with the evaluation sets."""
        hashes, last = _runs(texts, self._language, self._ngram)
        result = np.empty(len(texts), np.bool_)
        kernel.any_known(hashes, last, self._hashes, self._filter, result)
        return result


def _runs(texts: Sequence[str], language: str, ngram: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes of the runs of all texts one after the other, and where each text's end."""
    codes, ends = packed(texts)
    words, visible = tables()
    hashes, last = np.empty(len(codes), np.uint64), np.empty(len(texts), np.int64)
    by_words = spaced(language)
    kernel.run_hashes(codes, ends, words if by_words else visible, by_words, ngram, hashes, last)
    return hashes[: last[-1] if len(last) else 0], last


def _texts(path: Path) -> Iterator[list[str]]:
    """The string values of a file, in lists for a few MiB of it."""
    if not path.name.endswith(_ENDINGS):
        raise DataError(f"{path}: expected an evaluation set in JSON lines, with a name ending in {' '.join(_ENDINGS)}")
    for batch in read(path, str(path), "", ""):
        if not isinstance(batch.data, bytes):
            raise DataError(f"{path}:{batch.first}: a line of {batch.size:,} bytes is too long for an evaluation set")
        texts: list[str] = []
        for number, line in enumerate(batch.data.split(b"\n"), batch.first):
            if line and not line.isspace():
                texts.extend(_strings(_record(line, f"{path}:{number}")))
        yield texts


def _record(line: bytes, place: str) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{place}: not valid JSON ({error}); mend this line of the evaluation set") from None
    if not isinstance(value, dict):
        raise DataError(f"{place}: expected a JSON object, found {type(value).__name__}; mend the evaluation set")
    return value


def _strings(value: Any) -> Iterator[str]:
    held = [value]
    while held:
        value = held.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            held.extend(value if isinstance(value, list) else value.values())
