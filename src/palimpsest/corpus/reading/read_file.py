"""Reads any input file as batches of a few MiB, each with its position in the file.

Decoding is left to the workers, since it costs more than reading. A bad *record* is theirs to drop; a bad *file* is a
DataError here, whose message begins with the file's name. Memory: one batch and one record of MAX_RECORD_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from palimpsest.corpus.reading.content_checks import check_magic, check_text
from palimpsest.corpus.reading.parquet_reader import read_parquet
from palimpsest.corpus.reading.records import EXCERPT_BYTES, MAX_RECORD_BYTES, Batch, OversizedRecord, TextRecord
from palimpsest.corpus.reading.warc_reader import read_warc
from palimpsest.errors import DataError
from palimpsest.file_types import Format, extensions, file_type
from palimpsest.raw.decompress import decompressed

BATCH_BYTES = 4 << 20
FORMATS = (Format.JSON_LINES, Format.TEXT, Format.PARQUET, Format.WARC)
_BOM = b"\xef\xbb\xbf"


def read_file(path: Path, name: str, text_column: str, id_column: str) -> Iterator[Batch]:
    """The batches of one file, whose type is that of ``name``'s extension. The columns are those of a Parquet file."""
    found = file_type(name)
    if found is None or found.format not in FORMATS:
        raise DataError(f"{name}: unknown file type; expected a name ending in one of {extensions(*FORMATS)}")
    check_magic(path, name, found)
    match found.format:
        case Format.PARQUET:
            yield from read_parquet(path, name, text_column, id_column, BATCH_BYTES)
        case Format.WARC:
            yield from read_warc(_pieces(path, name), name, BATCH_BYTES)
        case Format.TEXT:
            yield _read_text(path, name)
        case _:
            yield from _read_json_lines(path, name)


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that this project wrote, line feeds included."""
    rest = b""
    with path.open("rb") as file:
        for _, piece in decompressed(file, path.name):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line + b"\n"
    if rest:
        yield rest


def _read_json_lines(path: Path, name: str) -> Iterator[Batch]:
    rest, first, end = b"", 1, 0
    skipped, excerpt = 0, b""
    for end, piece in _blocks(path, name):
        head, newline, tail = piece.rpartition(b"\n")
        if not newline:
            rest += piece
            if len(rest) > MAX_RECORD_BYTES:
                skipped, excerpt, rest = skipped + len(rest), excerpt or rest[:EXCERPT_BYTES], b""
            continue
        data = rest + head + newline
        if skipped:
            start = data.index(b"\n") + 1
            yield _oversized(name, first, end, excerpt, skipped + start)
            data, first, skipped, excerpt = data[start:], first + 1, 0, b""
        if data:
            yield Batch(name=name, first=first, end=end, data=data)
        first, rest = first + data.count(b"\n"), tail
    if skipped:
        yield _oversized(name, first, end, excerpt, skipped + len(rest))
    elif rest:
        yield Batch(name=name, first=first, end=end, data=rest)


def _oversized(name: str, first: int, end: int, excerpt: bytes, size: int) -> Batch:
    record = OversizedRecord(reason="too_long", excerpt=excerpt, size=size)
    return Batch(name=name, first=first, end=end, data=[record])


def _read_text(path: Path, name: str) -> Batch:
    text, size, end = bytearray(), 0, 0
    for end, piece in _pieces(path, name):  # noqa: B007 - used after the loop
        size += len(piece)
        text += piece[: max(0, MAX_RECORD_BYTES + 1 - len(text))]
    if size > MAX_RECORD_BYTES:
        return _oversized(name, 1, end, bytes(text[:EXCERPT_BYTES]), size)
    return Batch(name=name, first=1, end=end, data=[TextRecord(id=None, text=bytes(text))])


def _blocks(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """The contents in blocks of BATCH_BYTES, each with the bytes of the file read so far."""
    held: list[bytes] = []
    size = end = 0
    try:
        for end, piece in _pieces(path, name):
            start = 0
            while size + len(piece) - start >= BATCH_BYTES:
                stop = start + BATCH_BYTES - size
                yield end, b"".join([*held, piece[start:stop]])
                held, size, start = [], 0, stop
            held.append(piece[start:])
            size += len(held[-1])
    except DataError:
        # What comes before the corrupt part is good.
        yield end, b"".join(held)
        raise
    yield end, b"".join(held)


def _pieces(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """The decompressed contents without byte order mark, after a check of their first bytes."""
    start = True
    with path.open("rb") as file:
        for end, piece in decompressed(file, name):
            if start and piece:
                check_text(piece, name)
                piece, start = piece.removeprefix(_BOM), False
            yield end, piece
