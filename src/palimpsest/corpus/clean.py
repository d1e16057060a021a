"""A worker's part: records in, cleaned documents with their keys out. Each record is kept or counted, none stops it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from palimpsest.corpus.contamination import Contamination
from palimpsest.corpus.damage import damage
from palimpsest.corpus.filters import QualityFilters
from palimpsest.corpus.identify import Identifier
from palimpsest.corpus.languages import UNSPACED
from palimpsest.corpus.normalise import content_key, normalise
from palimpsest.corpus.page import page_text
from palimpsest.corpus.personal import Masker
from palimpsest.corpus.records import MAX_RECORD_BYTES, SHOWN_BYTES, Batch, Page, Record, Refused, Row
from palimpsest.corpus.rejected import Rejected
from palimpsest.corpus.signatures import Signatures
from palimpsest.corpus.tally import Entry, Samples, dropped_entry
from palimpsest.corpus.words import RegexWords


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a worker is told: ``corpus`` as in the spec, the columns of text and id by source, and evaluation hashes.

    ``evaluation`` is a .npy file, mapped and not read, so that workers share it.
    """

    language: str
    corpus: Mapping[str, Any]
    columns: Mapping[str, tuple[str, str]]
    evaluation: Path | None = None


@dataclass(kw_only=True)
class Cleaned:
    """What became of a batch. ``lines``: the kept documents as zstd JSON lines; ``keys``: a row of uint64 for each.

    A row is the two halves of the content key, the bytes of text, and the MinHash band hashes. ``samples``: dropped
    documents (tally.py).
    """

    documents: int = 0
    lines: bytes = b""
    keys: NDArray[np.uint64]
    dropped: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    samples: list[Entry] = field(default_factory=list)


class Document(NamedTuple):
    """A document that passed the rules."""

    id: str
    text: str
    score: float


class Cleaner:
    """Cleans batches of one language. Costly to build (a second, 100 MB): one for each process."""

    def __init__(self, rules: Rules) -> None:
        language, corpus = rules.language, rules.corpus
        self._sources = rules.columns
        self._min_score: float | None = corpus["min_language_score"]
        self._identifier = Identifier(language)
        self._filters = QualityFilters(language, corpus["filters"], RegexWords(language))
        self._masker = Masker(corpus["mask_pii"], language)
        self._columns = key_columns(corpus["minhash"])
        self._signatures = Signatures(language, corpus["minhash"]) if corpus["minhash"] else None
        self._contamination: Contamination | None = None
        if rules.evaluation:
            hashes = np.load(rules.evaluation, mmap_mode="r")
            self._contamination = Contamination(hashes, language, shared_run(language, corpus["decontamination"]))

    def clean(self, batch: Batch, source: str) -> Cleaned:
        """Clean a batch of a source. The result depends on the batch alone, whatever was cleaned before."""
        work = _Work(source, Cleaned(keys=np.empty((0, self._columns), np.uint64)))
        kept = self._without_contaminated(self._judged(batch, work), work)
        documents = [self._masked(document, work.result) for document in kept]
        if documents:
            texts = [document.text for document in documents]
            keys = np.array([[*content_key(text), len(text.encode())] for text in texts], np.uint64)
            work.result.keys = np.hstack((keys, self._signatures.bands(texts))) if self._signatures else keys
            lines = b"".join(orjson.dumps(item._asdict(), option=orjson.OPT_APPEND_NEWLINE) for item in documents)
            work.result.lines = zstandard.ZstdCompressor(level=1).compress(lines)
        work.result.samples = work.samples.shown()
        return work.result

    def _judged(self, batch: Batch, work: _Work) -> list[Document]:
        """The documents that pass the rules."""
        kept = []
        for number, record in _records(batch):
            work.result.documents += 1
            # What cannot be read is named by file and line, all else by its own id.
            name = place = f"{work.source}/{batch.name}:{number}"
            try:
                found, text = self._fields(record, work.source)
                name = _name(found, place)
                text, score = self._judge(text)
            except Rejected as rejected:
                work.drop(name, rejected.reason, rejected.text)
                continue
            kept.append(Document(id=name, text=text, score=score))
        return kept

    def _without_contaminated(self, documents: list[Document], work: _Work) -> list[Document]:
        if self._contamination is None or not documents:
            return documents
        found = self._contamination.found([document.text for document in documents])
        for document, contaminated in zip(documents, found, strict=True):
            if contaminated:
                work.drop(document.id, "contamination", document.text)
        return [document for document, contaminated in zip(documents, found, strict=True) if not contaminated]

    def _masked(self, document: Document, result: Cleaned) -> Document:
        text, counts = self._masker.mask(document.text)
        result.masked.update(counts)
        return document._replace(text=text)

    def _fields(self, record: bytes | Record, source: str) -> tuple[Any, str]:
        """The id and the normalised text of a record; Rejected when it has none."""
        found, text = self._raw_fields(record, source)
        if not isinstance(text, str):
            raise Rejected("no_text", _shown(record) if isinstance(record, bytes) else "")
        if reason := damage(text):
            raise Rejected(reason, text)
        if not (text := normalise(text)):
            raise Rejected("no_text", _shown(record) if isinstance(record, bytes) else "")
        return found, text

    def _raw_fields(self, record: bytes | Record, source: str) -> tuple[Any, Any]:
        match record:
            case Refused(reason=reason, shown=shown):
                raise Rejected(reason, _shown(shown))
            case Page(id=name, message=message):
                return name, page_text(message)
            case Row(id=name, text=data):
                return name, _decoded(data)
        if len(record) > MAX_RECORD_BYTES:
            raise Rejected("too_long", _shown(record))
        text, id_key = self._sources[source]
        value = _parse(record)
        return value.get(id_key), value.get(text)

    def _judge(self, text: str) -> tuple[str, float]:
        """The text as the filters leave it, and its language score; Rejected when a rule drops it."""
        first, score = self._identifier.score(text)
        if self._min_score is not None and not (first and score >= self._min_score):
            raise Rejected("language", text)
        kept, reason = self._filters.judge(text)
        if reason:
            raise Rejected(reason, kept)
        return kept, score


class _Work:
    """A batch's result as it grows."""

    def __init__(self, source: str, result: Cleaned) -> None:
        self.source, self.result, self.samples = source, result, Samples()

    def drop(self, name: str, reason: str, text: str) -> None:
        self.result.dropped[reason] += 1
        self.samples.offer(dropped_entry(name, self.source, reason, text))


def key_columns(minhash: Mapping[str, int] | None) -> int:
    """How many 64-bit numbers are kept of a document."""
    return 3 + (minhash["bands"] if minhash else 0)


def shared_run(language: str, decontamination: Mapping[str, Any]) -> int:
    """How many words, or characters where words have no spaces, a contaminated text shares with an evaluation set."""
    return int(decontamination["characters" if language in UNSPACED else "words"])


def _records(batch: Batch) -> Iterator[tuple[int, bytes | Record]]:
    """Each record with its number. A blank line is no record."""
    if not isinstance(batch.data, bytes):
        yield from enumerate(batch.data, batch.first)
        return
    for number, line in enumerate(batch.data.split(b"\n"), batch.first):
        if line and not line.isspace():
            yield number, line


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
    return data[:SHOWN_BYTES].decode(errors="replace")
