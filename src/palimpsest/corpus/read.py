"""Read any input file as a stream of batches of a few MiB, each with the place it came from.

Decoding is left to the workers, since it costs more than reading. A bad *record* is theirs to drop; a bad *file* is a
DataError here, whose message begins with the file's name. Memory: one batch and one record of MAX_RECORD_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from palimpsest.corpus.kinds import KINDS, check_content, check_packing, kind_of
from palimpsest.corpus.parquet import read_parquet
from palimpsest.corpus.records import MAX_RECORD_BYTES, SHOWN_BYTES, Batch, Record, Refused, Row
from palimpsest.corpus.warc import read_warc
from palimpsest.errors import DataError
from palimpsest.raw.decompress import decompressed

BATCH_BYTES = 4 << 20
_BOM = b"\xef\xbb\xbf"


def read(path: Path, name: str, text: str, id_key: str) -> Iterator[Batch]:
    """The batches of one file, by the ending of its ``name``. ``text`` and ``id_key`` name a Parquet file's columns."""
    kind = kind_of(name)
    if kind is None:
        endings = " ".join(sorted(ending for kinds in KINDS.values() for ending in kinds))
        raise DataError(f"{name}: cannot tell its kind; expected a name ending in one of {endings} (or .gz, .zst)")
    check_packing(path, name, kind)
    if kind == "parquet":
        yield from read_parquet(path, name, text, id_key, BATCH_BYTES)
    elif kind == "warc":
        yield from read_warc(_checked(path, name), name, BATCH_BYTES)
    elif kind == "text":
        yield _read_text(path, name)
    else:
        yield from _read_lines(path, name)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that this project wrote, line feeds included."""
    rest = b""
    with path.open("rb") as file:
        for _, piece in decompressed(file, path.name):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line + b"\n"
    if rest:
        yield rest


def _read_lines(path: Path, name: str) -> Iterator[Batch]:
    rest, first, end = b"", 1, 0
    skipped, shown = 0, b""
    for end, piece in _gathered(path, name):
        head, newline, tail = piece.rpartition(b"\n")
        if not newline:
            rest += piece
            if len(rest) > MAX_RECORD_BYTES:
                skipped, shown, rest = skipped + len(rest), shown or rest[:SHOWN_BYTES], b""
            continue
        data = rest + head + newline
        if skipped:
            start = data.index(b"\n") + 1
            yield _too_long(name, first, end, shown, skipped + start)
            data, first, skipped, shown = data[start:], first + 1, 0, b""
        if data:
            yield Batch(name=name, first=first, end=end, data=data)
        first, rest = first + data.count(b"\n"), tail
    if skipped:
        yield _too_long(name, first, end, shown, skipped + len(rest))
    elif rest:
        yield Batch(name=name, first=first, end=end, data=rest)


def _too_long(name: str, first: int, end: int, shown: bytes, size: int) -> Batch:
    refused: list[Record] = [Refused(reason="too_long", shown=shown, size=size)]
    return Batch(name=name, first=first, end=end, data=refused)


def _read_text(path: Path, name: str) -> Batch:
    text, size, end = bytearray(), 0, 0
    for end, piece in _checked(path, name):  # noqa: B007 - used after the loop
        size += len(piece)
        text += piece[: max(0, MAX_RECORD_BYTES + 1 - len(text))]
    if size > MAX_RECORD_BYTES:
        return _too_long(name, 1, end, bytes(text[:SHOWN_BYTES]), size)
    return Batch(name=name, first=1, end=end, data=[Row(id=None, text=bytes(text))])


def _gathered(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """The contents in pieces of BATCH_BYTES, each with the bytes of the file read so far."""
    held: list[bytes] = []
    size = end = 0
    try:
        for end, piece in _checked(path, name):
            start = 0
            while size + len(piece) - start >= BATCH_BYTES:
                stop = start + BATCH_BYTES - size
                yield end, b"".join([*held, piece[start:stop]])
                held, size, start = [], 0, stop
            held.append(piece[start:])
            size += len(held[-1])
    except DataError:
        # What lies before the damage is good.
        yield end, b"".join(held)
        raise
    yield end, b"".join(held)


def _checked(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """The decompressed contents without byte order mark, of which the beginning was looked at."""
    start = True
    with path.open("rb") as file:
        for end, piece in decompressed(file, name):
            if start and piece:
                check_content(piece, name)
                piece, start = piece.removeprefix(_BOM), False
            yield end, piece
