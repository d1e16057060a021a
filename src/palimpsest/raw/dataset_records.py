"""Converts the records of a dataset's file to lines ``{"id", "text"}``; bad ones too, so that cleaning counts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from palimpsest.errors import DataError
from palimpsest.file_types import Format, extensions, file_type
from palimpsest.raw.decompress import decompressed

# More than cleaning accepts as one record. A longer line is cut to this, and cleaning drops it as too long.
LINE_BYTES = 24 << 20
_BOM = b"\xef\xbb\xbf"
_FORMATS = (Format.PARQUET, Format.JSON_LINES, Format.JSON)


@dataclass
class RecordStatistics:
    """The number of records with text, and the keys of the first record, which errors list."""

    texts: int = 0
    keys: list[str] = field(default_factory=list)


def read_records(file: BinaryIO, name: str, text: str, id_key: str, statistics: RecordStatistics) -> Iterator[bytes]:
    """The records of one file in order. A record without an id gets the name of the file and its number, from 1.

    Raises DataError if the file has an unknown type, is corrupt or truncated, or has no text column. Memory: a Parquet
    page per column and 512 records, or LINE_BYTES.
    """
    found = file_type(name)
    if found is None or found.format not in _FORMATS:
        raise DataError(
            f"{name}: unknown file type; names of a dataset's files must end in {extensions(*_FORMATS)}; "
            "set the source's files to such a glob"
        )
    read = _parquet if found.format is Format.PARQUET else _json_lines
    return read(file, name, text, id_key, statistics)


def _json_lines(file: BinaryIO, name: str, text: str, id_key: str, statistics: RecordStatistics) -> Iterator[bytes]:
    for number, line in enumerate(_lines(file, name), 1):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            # Unchanged: cleaning cannot parse it either, and counts it.
            yield line + b"\n"
            continue
        statistics.keys = statistics.keys or list(record)
        value = record.get(text)
        statistics.texts += isinstance(value, str) and bool(value)
        yield orjson.dumps({"id": _document_id(record.get(id_key), name, number), "text": value}) + b"\n"


def _document_id(value: Any, name: str, number: int) -> str:
    is_id = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return str(value) if is_id else f"{name}:{number}"


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The non-blank lines without their line ends, cut to LINE_BYTES."""
    rest, start = bytearray(), True
    for _, piece in decompressed(file, name):
        if start and piece:
            piece, start = piece.removeprefix(_BOM), False
        *ends, tail = piece.split(b"\n")
        for end in ends:
            _append(rest, end)
            if line := bytes(rest).strip(b"\r \t"):
                yield line
            rest.clear()
        _append(rest, tail)
    if line := bytes(rest).strip(b"\r \t"):
        yield line


def _append(rest: bytearray, piece: bytes) -> None:
    rest += piece[: LINE_BYTES - len(rest)]


def _parquet(file: BinaryIO, name: str, text: str, id_key: str, statistics: RecordStatistics) -> Iterator[bytes]:
    number = 0
    try:
        with pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as parquet:
            columns = _columns(name, parquet.schema_arrow, text, id_key)
            for batch in parquet.iter_batches(batch_size=512, columns=columns, use_threads=False):
                texts = _as_bytes(batch.column(text)).to_pylist()
                ids = _as_bytes(batch.column(id_key)).to_pylist() if id_key in columns else [None] * len(texts)
                for value, own_id in zip(texts, ids, strict=True):
                    number += 1
                    own_id = own_id.decode(errors="replace") if isinstance(own_id, bytes) else own_id
                    statistics.texts += bool(value)
                    yield _line(_document_id(own_id, name, number), value)
    except pa.ArrowException as error:
        raise DataError(
            f"{name}: not a complete Parquet file, after record {number} ({error}); fetch it again"
        ) from None
    except OSError as error:
        # Arrow's own errors about a file have no errno; errors of the disk or the network do, and are raised as they
        # are.
        if error.errno is not None:
            raise
        raise DataError(f"{name}: corrupt after record {number} ({error}); fetch it again") from None


def _columns(name: str, schema: Any, text: str, id_key: str) -> list[str]:
    if text not in schema.names:
        raise DataError(
            f"{name}: no column {text!r} for the text; it has {', '.join(schema.names)}; "
            "set the source's text to one of them"
        )
    if not _holds_text(kind := schema.field(text).type):
        raise DataError(f"{name}: column {text!r} holds {kind}, expected strings; set the source's text to another one")
    return [text, id_key] if id_key in schema.names and id_key != text else [text]


def _holds_text(kind: Any) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _as_bytes(column: Any) -> Any:
    """As bytes, so that a string of invalid UTF-8 is one bad record instead of an error for the whole file."""
    return column.cast(pa.large_binary()) if _holds_text(column.type) else column


def _line(name: str, text: bytes | None) -> bytes:
    try:
        return orjson.dumps({"id": name, "text": text if text is None else text.decode()}) + b"\n"
    except UnicodeDecodeError as error:
        # Keeps the invalid bytes in place, for cleaning to find.
        value = json.dumps(error.object.decode("utf-8", "surrogateescape"), ensure_ascii=False)
        return b'{"id":%b,"text":%b}\n' % (orjson.dumps(name), value.encode("utf-8", "surrogateescape"))
