"""Read the documents of a WARC or WET file (ISO 28500): HTTP responses as they are, and converted plain text.

A reader of our own, since a truncated file must be an error with its offset, and a page of any size must not be held.
"""

from __future__ import annotations

from collections.abc import Iterator

from palimpsest.corpus.records import MAX_RECORD_BYTES, SHOWN_BYTES, Batch, Record, Refused, Row
from palimpsest.corpus.records import Page as Response
from palimpsest.errors import DataError

# Common Crawl cuts pages at 1 MiB, since 2025 at 5 MiB. Extraction of one this size takes seconds.
MAX_PAGE_BYTES = 5 << 20
_MAX_HEAD_BYTES = 1 << 20
Pieces = Iterator[tuple[int, bytes]]


def read_warc(pieces: Pieces, name: str, batch_bytes: int) -> Iterator[Batch]:
    """The documents in batches of about ``batch_bytes``, numbered by their place among all records of the file.

    ``response`` records of HTTP and ``conversion`` records are documents; of others nothing is told. Raises DataError
    with the offset (in the unpacked file) for what is no WARC record, and for a file cut short.
    """
    stream = _Stream(pieces, name)
    batch: list[Record] = []
    first = held = 0
    try:
        for number, record in enumerate(_documents(stream), 1):
            # A batch's records are consecutive, so that numbers count through it.
            if batch and (record is None or held >= batch_bytes):
                yield Batch(name=name, first=first, end=stream.end, data=batch)
                batch, held = [], 0
            if record is not None:
                first = first if batch else number
                batch.append(record)
                held += 0 if isinstance(record, Refused) else record.size
    except DataError:
        # What lies before the damage is good.
        yield Batch(name=name, first=first, end=stream.end, data=batch)
        raise
    yield Batch(name=name, first=first, end=stream.end, data=batch)


def _documents(stream: _Stream) -> Iterator[Record | None]:
    """The records of the file, None for those that are no documents."""
    while head := stream.head():
        yield _document(stream, head)


def _document(stream: _Stream, head: dict[str, str]) -> Record | None:
    kind = head.get("warc-type", "").lower()
    length = stream.length(head)
    place = head.get("warc-target-uri", "").strip("<>") or head.get("warc-record-id", "").strip("<>")
    if kind == "conversion":
        most, reason = MAX_RECORD_BYTES, "too_long"
    elif kind == "response" and head.get("content-type", "").lower().startswith("application/http"):
        most, reason = MAX_PAGE_BYTES, "page_too_large"
    else:
        stream.body(length, keep=0)
        return None
    body = stream.body(length, keep=length if length <= most else SHOWN_BYTES)
    if length > most:
        return Refused(reason=reason, shown=body, size=length)
    return Row(id=place, text=body) if kind == "conversion" else Response(id=place, message=body)


class _Stream:
    """The unpacked file, taken by lines and lengths. ``end``: bytes of the packed file read so far."""

    def __init__(self, pieces: Pieces, name: str) -> None:
        self._pieces, self._name = pieces, name
        self._buffer, self._at, self._start = b"", 0, 0
        self.end = 0

    @property
    def _offset(self) -> int:
        """Where in the unpacked file the next byte lies."""
        return self._start + self._at

    def head(self) -> dict[str, str] | None:
        """The fields of the next record by lower-case name; None at the end of the file."""
        while (line := self._line()) in (b"\r\n", b"\n"):
            pass
        if line is None:
            return None
        if not line.startswith(b"WARC/1."):
            raise DataError(
                f"{self._name}: no WARC record at byte {self._offset - len(line)} of the unpacked file "
                f"(expected WARC/1.0 or WARC/1.1, found {line[:20]!r}); fetch it again"
            )
        begin, fields = self._offset, {}
        while (line := self._line()) not in (b"\r\n", b"\n"):
            if line is None:
                raise self._cut_short()
            key, _, value = line.decode(errors="replace").partition(":")
            fields[key.strip().lower()] = value.strip()
            if self._offset - begin > _MAX_HEAD_BYTES:
                raise DataError(
                    f"{self._name}: the WARC record at byte {begin} has over {_MAX_HEAD_BYTES} bytes of fields"
                )
        return fields

    def length(self, head: dict[str, str]) -> int:
        given = head.get("content-length", "")
        if not (given.isascii() and given.isdigit()):
            raise DataError(
                f"{self._name}: a WARC record before byte {self._offset} has no Content-Length "
                f"(found {given!r}); fetch it again"
            )
        return int(given)

    def body(self, length: int, keep: int) -> bytes:
        """Pass over ``length`` bytes and give back the first ``keep``."""
        kept, left = [], length
        while left:
            if self._at == len(self._buffer) and not self._more():
                raise self._cut_short()
            piece = self._buffer[self._at : self._at + left]
            self._at += len(piece)
            left -= len(piece)
            if keep > 0:
                kept.append(piece[:keep])
                keep -= len(piece)
        return b"".join(kept)

    def _line(self) -> bytes | None:
        """The next line with its end; None where nothing is left."""
        while (found := self._buffer.find(b"\n", self._at)) < 0:
            if len(self._buffer) - self._at > _MAX_HEAD_BYTES:
                break
            if not self._more():
                found = len(self._buffer) - 1
                break
        stop = found + 1 if found >= 0 else self._at + _MAX_HEAD_BYTES
        line, self._at = self._buffer[self._at : stop], stop
        return line or None

    def _more(self) -> bool:
        """Put the next piece behind what is left of the buffer."""
        for end, piece in self._pieces:
            self._start += self._at
            self._buffer, self._at, self.end = self._buffer[self._at :] + piece, 0, end
            return True
        return False

    def _cut_short(self) -> DataError:
        return DataError(
            f"{self._name}: cut short at byte {self._start + len(self._buffer)} of the unpacked file, in the middle "
            "of a WARC record; fetch it again"
        )
