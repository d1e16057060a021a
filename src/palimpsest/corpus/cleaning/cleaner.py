"""A worker's part: batches of records in, cleaned documents with their keys out. Bad records are only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from palimpsest.corpus.cleaning.decontamination import ContaminationDetector
from palimpsest.corpus.cleaning.dropped_documents import DroppedDocument, DroppedSample
from palimpsest.corpus.cleaning.language_id import LanguageIdentifier
from palimpsest.corpus.cleaning.mojibake import find_defect
from palimpsest.corpus.cleaning.normalise import normalise
from palimpsest.corpus.cleaning.pii import PiiMasker
from palimpsest.corpus.cleaning.quality_filters import QualityFilters
from palimpsest.corpus.cleaning.rejected import Rejected
from palimpsest.corpus.cleaning.web_page import page_text
from palimpsest.corpus.cleaning.word_splitter import RegexWordSplitter
from palimpsest.corpus.deduplication.document_keys import FIRST_BAND, content_key
from palimpsest.corpus.deduplication.minhash import MinHasher
from palimpsest.corpus.languages import UNSPACED
from palimpsest.corpus.reading.records import (
    EXCERPT_BYTES,
    MAX_RECORD_BYTES,
    Batch,
    HttpResponse,
    OversizedRecord,
    Record,
    TextRecord,
)
from palimpsest.settings.cleaning import Cleaning, Decontamination, Minhash


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The keys of a source's records that hold the text and the id."""

    text: str
    id: str


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """The cleaning settings of a language, as every worker gets them, and the columns of each source.

    ``evaluation`` is a .npy file of hashes, which workers map into memory and so share.
    """

    language: str
    cleaning: Cleaning
    columns: Mapping[str, Columns]
    evaluation: Path | None = None


@dataclass(kw_only=True)
class CleanedBatch:
    """The result of a batch: the kept documents as zstd JSON lines, their keys (document_keys.py), and counts."""

    documents: int = 0
    lines: bytes = b""
    keys: NDArray[np.uint64]
    dropped: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    dropped_sample: list[DroppedDocument] = field(default_factory=list)


class Document(NamedTuple):
    """A document that passed the rules, as a line of the corpus holds it."""

    id: str
    text: str
    score: float


class Cleaner:
    """Cleans batches of one language. Costly to build (a second, 100 MB): one for each process."""

    def __init__(self, rules: CleaningRules) -> None:
        language, cleaning = rules.language, rules.cleaning
        self._columns = rules.columns
        self._min_score = cleaning.min_language_score
        self._identifier = LanguageIdentifier(language)
        self._filters = QualityFilters(language, cleaning.filters, RegexWordSplitter(language))
        self._masker = PiiMasker(cleaning.mask_pii, language)
        self._key_columns = key_columns(cleaning.minhash)
        self._minhash = MinHasher(language, cleaning.minhash) if cleaning.minhash else None
        self._contamination: ContaminationDetector | None = None
        if rules.evaluation and cleaning.decontamination:
            hashes = np.load(rules.evaluation, mmap_mode="r")
            ngram = contamination_ngram(language, cleaning.decontamination)
            self._contamination = ContaminationDetector(hashes, language, ngram)

    def clean(self, batch: Batch, source: str) -> CleanedBatch:
        """Clean a batch of a source. The result depends on the batch alone, whatever was cleaned before."""
        work = _Work(source, CleanedBatch(keys=np.empty((0, self._key_columns), np.uint64)))
        passed = self._drop_contaminated(self._filter(batch, work), work)
        documents = [self._mask(document, work.result) for document in passed]
        if documents:
            work.result.keys = self._keys([document.text for document in documents])
            lines = b"".join(orjson.dumps(item._asdict(), option=orjson.OPT_APPEND_NEWLINE) for item in documents)
            work.result.lines = zstandard.ZstdCompressor(level=1).compress(lines)
        work.result.dropped_sample = work.sample.documents()
        return work.result

    def _keys(self, texts: list[str]) -> NDArray[np.uint64]:
        keys = np.array([[*content_key(text), len(text.encode())] for text in texts], np.uint64)
        return np.hstack((keys, self._minhash.band_hashes(texts))) if self._minhash else keys

    def _filter(self, batch: Batch, work: _Work) -> list[Document]:
        """The documents that pass the rules."""
        passed = []
        for number, record in _records(batch):
            work.result.documents += 1
            # A record that cannot be read is named by file and line, any other by its own id.
            name = position = f"{work.source}/{batch.name}:{number}"
            try:
                id, text = self._decode(record, work.source)
                name = _document_name(id, position)
                text, score = self._check(text)
            except Rejected as rejected:
                work.drop(name, rejected.reason, rejected.excerpt)
                continue
            passed.append(Document(id=name, text=text, score=score))
        return passed

    def _drop_contaminated(self, documents: list[Document], work: _Work) -> list[Document]:
        if self._contamination is None or not documents:
            return documents
        found = self._contamination.find([document.text for document in documents])
        for document, contaminated in zip(documents, found, strict=True):
            if contaminated:
                work.drop(document.id, "contamination", document.text)
        return [document for document, contaminated in zip(documents, found, strict=True) if not contaminated]

    def _mask(self, document: Document, result: CleanedBatch) -> Document:
        text, counts = self._masker.mask(document.text)
        result.masked.update(counts)
        return document._replace(text=text)

    def _decode(self, record: bytes | Record, source: str) -> tuple[object, str]:
        """The id and the normalised text of a record. Raises Rejected when it has no good text."""
        id, text = self._fields(record, source)
        if not isinstance(text, str):
            raise Rejected("no_text", _excerpt(record) if isinstance(record, bytes) else "")
        if reason := find_defect(text):
            raise Rejected(reason, text)
        if not (text := normalise(text)):
            raise Rejected("no_text", _excerpt(record) if isinstance(record, bytes) else "")
        return id, text

    def _fields(self, record: bytes | Record, source: str) -> tuple[object, object]:
        match record:
            case OversizedRecord(reason=reason, excerpt=excerpt):
                raise Rejected(reason, _excerpt(excerpt))
            case HttpResponse(id=id, message=message):
                return id, page_text(message)
            case TextRecord(id=id, text=data):
                return id, None if data is None else _utf8(data)
        if len(record) > MAX_RECORD_BYTES:
            raise Rejected("too_long", _excerpt(record))
        columns, value = self._columns[source], _parse_json(record)
        return value.get(columns.id), value.get(columns.text)

    def _check(self, text: str) -> tuple[str, float]:
        """The text as the filters leave it, and its language score. Raises Rejected when a rule drops it."""
        is_first, score = self._identifier.score(text)
        if self._min_score is not None and not (is_first and score >= self._min_score):
            raise Rejected("language", text)
        text, reason = self._filters.apply(text)
        if reason:
            raise Rejected(reason, text)
        return text, score


class _Work:
    """A batch's result as it grows."""

    def __init__(self, source: str, result: CleanedBatch) -> None:
        self.source, self.result, self.sample = source, result, DroppedSample()

    def drop(self, name: str, reason: str, text: str) -> None:
        self.result.dropped[reason] += 1
        self.sample.add(DroppedDocument.of(name, self.source, reason, text))


def key_columns(minhash: Minhash | None) -> int:
    """The number of 64-bit keys of a document."""
    return FIRST_BAND + (minhash.bands if minhash else 0)


def contamination_ngram(language: str, decontamination: Decontamination) -> int:
    """The number of words, or of characters without spaces between words, that contaminated text shares."""
    return decontamination.characters if language in UNSPACED else decontamination.words


def _records(batch: Batch) -> Iterator[tuple[int, bytes | Record]]:
    """Each record with its number. A blank line is not a record."""
    if not isinstance(batch.data, bytes):
        yield from enumerate(batch.data, batch.first)
        return
    for number, line in enumerate(batch.data.split(b"\n"), batch.first):
        if line and not line.isspace():
            yield number, line


def _parse_json(line: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        _utf8(line)
        raise Rejected("bad_json", _excerpt(line)) from None
    if not isinstance(value, dict):
        raise Rejected("bad_json", _excerpt(line))
    return value


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Rejected("bad_utf8", _excerpt(data)) from None


def _document_name(id: object, position: str) -> str:
    """A record's own id where it is a string or an integer, else its position."""
    if isinstance(id, bytes):
        id = id.decode(errors="replace")
    if isinstance(id, str | int) and not isinstance(id, bool) and id != "":
        return str(id)
    return position


def _excerpt(data: bytes) -> str:
    return data[:EXCERPT_BYTES].decode(errors="replace")
