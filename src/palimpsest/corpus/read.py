"""Read any input file as a stream of batches of a few MiB, each with the place it came from.

A batch holds undecoded records: lines of JSON, or (id, text) pairs with the text as bytes. Decoding is left to the
workers, since it costs more than reading. A bad *record* is theirs to drop; a bad *file* is a DataError here.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from palimpsest.errors import DataError

BATCH_BYTES = 4 << 20
# What may have to be held at once: a line of JSONL or a text file that is one document.
MAX_RECORD_BYTES = 256 << 20
# Small, as the decompressed size of a piece has no other bound.
_PACKED_PIECE = 64 << 10
_BOM = b"\xef\xbb\xbf"
LINE_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
TEXT_SUFFIXES = tuple(stem + packing for stem in (".txt", ".text") for packing in ("", ".gz", ".zst"))
SUFFIXES = (*LINE_SUFFIXES, ".parquet", *TEXT_SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Consecutive records of one file: ``data`` is whole lines of JSON, or a list of (id, text as bytes or None).

    ``name`` is the file's, ``first`` the line or row number (from 1) of the first record, ``end`` how many bytes of
    the file were read so far.
    """

    name: str
    first: int
    end: int
    data: bytes | list[tuple[Any, bytes | None]]


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def read(path: Path, name: str, text: str, id_key: str) -> Iterator[Batch]:
    """The batches of one file, by its suffix. ``text`` and ``id_key`` name a Parquet file's columns."""
    if name.endswith(LINE_SUFFIXES):
        return _read_lines(path, name)
    if name.endswith(".parquet"):
        return _read_parquet(path, name, text, id_key)
    if name.endswith(TEXT_SUFFIXES):
        return _read_text(path, name)
    raise DataError(f"{path}: cannot tell its kind; expected a name ending in one of {' '.join(SUFFIXES)}")


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that this project wrote, line feeds included, whatever their length."""
    for batch in _read_lines(path, path.name, limit=sys.maxsize):
        assert isinstance(batch.data, bytes)
        yield from batch.data.splitlines(keepends=True)


def _read_lines(path: Path, name: str, limit: int = MAX_RECORD_BYTES) -> Iterator[Batch]:
    rest, first, end = b"", 1, 0
    for end, piece in _gathered(path):
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            data = rest + head + newline
            yield Batch(name=name, first=first, end=end, data=data)
            first, rest = first + data.count(b"\n"), tail
        else:
            rest += piece
        if len(rest) > limit:
            raise DataError(f"{path}: line {first} is longer than {limit >> 20} MiB; is this JSON Lines?")
    if rest:
        yield Batch(name=name, first=first, end=end, data=rest)


def _read_text(path: Path, name: str) -> Iterator[Batch]:
    text = bytearray()
    for _, piece in _gathered(path):
        text += piece
        if len(text) > MAX_RECORD_BYTES:
            raise DataError(
                f"{path}: a text file is one document, and this one is over {MAX_RECORD_BYTES >> 20} MiB; "
                "split it, or make it JSON Lines"
            )
    yield Batch(name=name, first=1, end=path.stat().st_size, data=[(None, bytes(text))])


def _read_parquet(path: Path, name: str, text: str, id_key: str) -> Iterator[Batch]:
    try:
        with pq.ParquetFile(path) as file:
            columns = _parquet_columns(path, file.schema_arrow, text, id_key)
            first, size = 1, path.stat().st_size
            for table in file.iter_batches(batch_size=512, columns=columns):
                # As bytes, so that one string of invalid UTF-8 is one bad record and not the end of the file.
                texts = _as_bytes(table.column(text)).to_pylist()
                ids = _as_bytes(table.column(id_key)).to_pylist() if id_key in columns else [None] * len(texts)
                end = size * (first + len(texts)) // (file.metadata.num_rows + 1)
                yield from _parquet_batches(name, first, end, list(zip(ids, texts, strict=True)))
                first += len(texts)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}); fetch or write it again") from None


def _parquet_batches(name: str, first: int, end: int, rows: list[tuple[Any, bytes | None]]) -> Iterator[Batch]:
    start, held = 0, 0
    for at, (_, text) in enumerate(rows, 1):
        held += len(text or b"")
        if held >= BATCH_BYTES or at == len(rows):
            yield Batch(name=name, first=first + start, end=end, data=rows[start:at])
            start, held = at, 0


def _parquet_columns(path: Path, schema: Any, text: str, id_key: str) -> list[str]:
    if text not in schema.names:
        raise DataError(
            f"{path}: no column {text!r} for the text; it has {', '.join(schema.names)}; "
            "set the source's text to one of them"
        )
    kind = schema.field(text).type
    if not _holds_text(kind):
        raise DataError(f"{path}: column {text!r} holds {kind}, expected strings; set the source's text to another one")
    return [text, id_key] if id_key in schema.names and id_key != text else [text]


def _holds_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _as_bytes(column: Any) -> Any:
    return column.cast(pa.large_binary()) if _holds_text(column.type) else column


def _gathered(path: Path) -> Iterator[tuple[int, bytes]]:
    """The unpacked contents without byte order mark in pieces of about BATCH_BYTES, each with the file's bytes read."""
    held, size, end, start = [], 0, 0, True
    for end, piece in unpacked(path):
        if start and piece:
            piece, start = piece.removeprefix(_BOM), False
        held.append(piece)
        size += len(piece)
        if size >= BATCH_BYTES:
            yield end, b"".join(held)
            held, size = [], 0
    if size:
        yield end, b"".join(held)


def unpacked(path: Path) -> Iterator[tuple[int, bytes]]:
    """The contents of a plain, gzip (.gz) or zstd (.zst) file in pieces, each with the file's bytes read so far.

    Any number of gzip members or zstd frames is read. Raises DataError for a file that is damaged or cut short.
    """
    if path.suffix not in (".gz", ".zst"):
        end = 0
        with path.open("rb") as file:
            while piece := file.read(BATCH_BYTES):
                end += len(piece)
                yield end, piece
        return
    decoder: _Decompressor | None = None
    end = 0
    with path.open("rb") as file:
        while piece := file.read(_PACKED_PIECE):
            end += len(piece)
            while piece:
                decoder = decoder or _decoder(path)
                try:
                    content = decoder.decompress(piece)
                except (zlib.error, zstandard.ZstdError) as error:
                    raise DataError(f"{path}: damaged near byte {end - len(piece)} ({error}); fetch it again") from None
                piece = decoder.unused_data
                if decoder.eof:
                    decoder = None
                yield end, content
    if decoder is not None or not end:
        raise DataError(f"{path}: cut short at byte {end}, in the middle of a compressed frame; fetch it again")


def _decoder(path: Path) -> _Decompressor:
    if path.suffix == ".gz":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor().decompressobj()
