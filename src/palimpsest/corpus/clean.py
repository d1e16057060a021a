"""A worker's part: records in, cleaned documents with their keys out. Each record is kept or counted, none stops it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from palimpsest.corpus.filters import QualityFilters
from palimpsest.corpus.identify import Identifier
from palimpsest.corpus.normalise import content_key, normalise
from palimpsest.corpus.read import Batch
from palimpsest.corpus.signatures import Signatures
from palimpsest.corpus.words import RegexWords

SAMPLES = 200
SAMPLE_CHARACTERS = 1000
# A line of JSON, or an id and the bytes of a text.
Record = bytes | tuple[Any, bytes | None]


@dataclass(kw_only=True)
class Cleaned:
    """What became of a batch. ``lines``: the kept documents as zstd JSON lines; ``keys``: a row of uint64 for each.

    A row is the two halves of the content key, the bytes of text, and the MinHash band hashes. ``samples``: up to
    SAMPLES dropped documents a reason.
    """

    end: int
    documents: int = 0
    lines: bytes = b""
    keys: NDArray[np.uint64]
    dropped: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, str]] = field(default_factory=list)

    def drop(self, name: str, reason: str, text: str) -> None:
        self.dropped[reason] += 1
        if self.dropped[reason] <= SAMPLES:
            self.samples.append(dropped_line(name, reason, text))


def dropped_line(name: str, reason: str, text: str) -> dict[str, str]:
    """An entry of dropped.jsonl.zst."""
    return {"id": name, "reason": reason, "text": text[:SAMPLE_CHARACTERS]}


class Rejected(Exception):  # noqa: N818 - the normal end of many records, not an error
    """Why a record is dropped, and what there is to show of it."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason, self.text = reason, text


class Cleaner:
    """Cleans batches of one language. Costly to build (a second, 100 MB): one for each process."""

    def __init__(self, language: str, corpus: Mapping[str, Any], text: str, id_key: str) -> None:
        self._text, self._id = text, id_key
        self._min_score: float | None = corpus["min_language_score"]
        self._identifier = Identifier(language)
        words = RegexWords(language)
        self._filters = QualityFilters(language, corpus["filters"], words)
        self._columns = key_columns(corpus["minhash"])
        self._signatures = Signatures(language, corpus["minhash"], words) if corpus["minhash"] else None

    def clean(self, batch: Batch) -> Cleaned:
        """Clean a batch. The result depends on the batch alone, whatever was cleaned before."""
        result = Cleaned(end=batch.end, keys=np.empty((0, 0), np.uint64))
        lines, keys = [], []
        for place, record in _records(batch):
            result.documents += 1
            name = place
            try:
                name, text = self._fields(place, record)
                text, score = self._judge(text)
            except Rejected as rejected:
                result.drop(name, rejected.reason, rejected.text)
                continue
            lines.append(orjson.dumps({"id": name, "text": text, "score": score}, option=orjson.OPT_APPEND_NEWLINE))
            bands = self._signatures.bands(text) if self._signatures else []
            keys.append([*content_key(text), len(text.encode()), *bands])
        result.keys = np.array(keys, np.uint64).reshape(len(keys), self._columns)
        result.lines = zstandard.ZstdCompressor(level=1).compress(b"".join(lines)) if lines else b""
        return result

    def _fields(self, place: str, record: Record) -> tuple[str, str]:
        """The id and the normalised text of a record; Rejected when it has none."""
        if isinstance(record, tuple):
            found, text = record[0], _decoded(record[1])
        else:
            value = _parse(record)
            found, text = value.get(self._id), value.get(self._text)
        if not isinstance(text, str) or not (text := normalise(text)):
            raise Rejected("no_text", _shown(record) if isinstance(record, bytes) else "")
        return _name(found, place), text

    def _judge(self, text: str) -> tuple[str, float]:
        """The text as the filters leave it, and its language score; Rejected when a rule drops it."""
        first, score = self._identifier.score(text)
        if self._min_score is not None and not (first and score >= self._min_score):
            raise Rejected("language", text)
        kept, reason = self._filters.judge(text)
        if reason:
            raise Rejected(reason, kept)
        return kept, score


def key_columns(minhash: Mapping[str, int] | None) -> int:
    """How many 64-bit numbers are kept of a document."""
    return 3 + (minhash["bands"] if minhash else 0)


def _records(batch: Batch) -> Iterator[tuple[str, Record]]:
    """Each record with its place, ``file:line``. A blank line is no record."""
    records: Sequence[Record] = batch.data.split(b"\n") if isinstance(batch.data, bytes) else batch.data
    for number, record in enumerate(records, batch.first):
        if isinstance(record, tuple) or (record and not record.isspace()):
            yield f"{batch.name}:{number}", record


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        _decoded(line)
        raise Rejected("bad_json", _shown(line)) from None
    if not isinstance(value, dict):
        raise Rejected("bad_json", _shown(line))
    return value


def _decoded(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        raise Rejected("bad_utf8", _shown(data or b"")) from None


def _name(found: Any, place: str) -> str:
    """A record's own id where it is a string or a whole number, else its place."""
    if isinstance(found, bytes):
        found = found.decode(errors="replace")
    if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
        return str(found)
    return place


def _shown(data: bytes) -> str:
    return data[: 4 * SAMPLE_CHARACTERS].decode(errors="replace")
