"""Reads the documents of a WARC or WET file (ISO 28500): HTTP responses as they are, and converted plain text.

A reader of our own, since a truncated file must be an error with its offset, and an oversized page must not be held.
"""

from __future__ import annotations

from collections.abc import Iterator

from palimpsest.corpus.reading.records import (
    EXCERPT_BYTES,
    MAX_RECORD_BYTES,
    Batch,
    HttpResponse,
    OversizedRecord,
    Record,
    TextRecord,
)
from palimpsest.errors import DataError

# Common Crawl cuts pages at 1 MiB, since 2025 at 5 MiB. Extraction of one this size takes seconds.
MAX_PAGE_BYTES = 5 << 20
_MAX_HEADER_BYTES = 1 << 20
Pieces = Iterator[tuple[int, bytes]]


def read_warc(pieces: Pieces, name: str, batch_bytes: int) -> Iterator[Batch]:
    """The documents in batches of about ``batch_bytes``, numbered by their position among all records of the file.

    ``response`` records of HTTP and ``conversion`` records are documents; others are skipped. Raises DataError with the
    offset (in the decompressed file) for what is not a WARC record, and for a file cut short.
    """
    stream = _Stream(pieces, name)
    batch: list[Record] = []
    first = size = 0
    try:
        for number, record in enumerate(_documents(stream), 1):
            # A batch's records are consecutive, so that numbers count through it.
            if batch and (record is None or size >= batch_bytes):
                yield Batch(name=name, first=first, end=stream.end, data=batch)
                batch, size = [], 0
            if record is not None:
                first = first if batch else number
                batch.append(record)
                size += 0 if isinstance(record, OversizedRecord) else record.size
    except DataError:
        # What comes before the corrupt part is good.
        yield Batch(name=name, first=first, end=stream.end, data=batch)
        raise
    yield Batch(name=name, first=first, end=stream.end, data=batch)


def _documents(stream: _Stream) -> Iterator[Record | None]:
    """The records of the file, None for those that are not documents."""
    while fields := stream.header():
        yield _document(stream, fields)


def _document(stream: _Stream, fields: dict[str, str]) -> Record | None:
    record_type = fields.get("warc-type", "").lower()
    length = stream.content_length(fields)
    id = fields.get("warc-target-uri", "").strip("<>") or fields.get("warc-record-id", "").strip("<>")
    if record_type == "conversion":
        max_bytes, reason = MAX_RECORD_BYTES, "too_long"
    elif record_type == "response" and fields.get("content-type", "").lower().startswith("application/http"):
        max_bytes, reason = MAX_PAGE_BYTES, "page_too_large"
    else:
        stream.body(length, keep=0)
        return None
    body = stream.body(length, keep=length if length <= max_bytes else EXCERPT_BYTES)
    if length > max_bytes:
        return OversizedRecord(reason=reason, excerpt=body, size=length)
    return TextRecord(id=id, text=body) if record_type == "conversion" else HttpResponse(id=id, message=body)


class _Stream:
    """The decompressed file, read by lines and lengths. ``end``: bytes of the compressed file read so far."""

    def __init__(self, pieces: Pieces, name: str) -> None:
        self._pieces, self._name = pieces, name
        self._buffer, self._at, self._start = b"", 0, 0
        self.end = 0

    @property
    def _offset(self) -> int:
        """The offset of the next byte in the decompressed file."""
        return self._start + self._at

    def header(self) -> dict[str, str] | None:
        """The fields of the next record by lower-case name; None at the end of the file."""
        while (line := self._line()) in (b"\r\n", b"\n"):
            pass
        if line is None:
            return None
        if not line.startswith(b"WARC/1."):
            raise DataError(
                f"{self._name}: no WARC record at byte {self._offset - len(line)} of the decompressed file "
                f"(expected WARC/1.0 or WARC/1.1, found {line[:20]!r}); download it again"
            )
        begin, fields = self._offset, {}
        while (line := self._line()) not in (b"\r\n", b"\n"):
            if line is None:
                raise self._cut_short()
            key, _, value = line.decode(errors="replace").partition(":")
            fields[key.strip().lower()] = value.strip()
            if self._offset - begin > _MAX_HEADER_BYTES:
                raise DataError(
                    f"{self._name}: the WARC record at byte {begin} has over {_MAX_HEADER_BYTES} bytes of fields"
                )
        return fields

    def content_length(self, fields: dict[str, str]) -> int:
        value = fields.get("content-length", "")
        if not (value.isascii() and value.isdigit()):
            raise DataError(
                f"{self._name}: a WARC record before byte {self._offset} has no Content-Length "
                f"(found {value!r}); download it again"
            )
        return int(value)

    def body(self, length: int, keep: int) -> bytes:
        """Skip ``length`` bytes, and return the first ``keep`` of them."""
        kept, remaining = [], length
        while remaining:
            if self._at == len(self._buffer) and not self._refill():
                raise self._cut_short()
            piece = self._buffer[self._at : self._at + remaining]
            self._at += len(piece)
            remaining -= len(piece)
            if keep > 0:
                kept.append(piece[:keep])
                keep -= len(piece)
        return b"".join(kept)

    def _line(self) -> bytes | None:
        """The next line with its end; None at the end of the file."""
        while (found := self._buffer.find(b"\n", self._at)) < 0:
            if len(self._buffer) - self._at > _MAX_HEADER_BYTES:
                break
            if not self._refill():
                found = len(self._buffer) - 1
                break
        stop = found + 1 if found >= 0 else self._at + _MAX_HEADER_BYTES
        line, self._at = self._buffer[self._at : stop], stop
        return line or None

    def _refill(self) -> bool:
        """Append the next piece to the rest of the buffer; False at the end of the file."""
        for end, piece in self._pieces:
            self._start += self._at
            self._buffer, self._at, self.end = self._buffer[self._at :] + piece, 0, end
            return True
        return False

    def _cut_short(self) -> DataError:
        return DataError(
            f"{self._name}: cut short at byte {self._start + len(self._buffer)} of the decompressed file, in the "
            "middle of a WARC record; download it again"
        )
