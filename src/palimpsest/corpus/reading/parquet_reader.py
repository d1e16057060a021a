"""Reads two columns of a Parquet file row by row, whatever the size of its row groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from palimpsest.corpus.reading.records import (
    EXCERPT_BYTES,
    MAX_RECORD_BYTES,
    Batch,
    OversizedRecord,
    Record,
    TextRecord,
)
from palimpsest.errors import DataError

_ROWS = 512
_STREAM_BYTES = 1 << 20


def read_parquet(path: Path, name: str, text_column: str, id_column: str, batch_bytes: int) -> Iterator[Batch]:
    """The rows in batches of about ``batch_bytes``.

    Pages are read one at a time, and a repeated string is held once (the file's dictionary), so that memory follows
    the size of pages and of a batch. Raises DataError for a corrupt file, or one without a column of strings
    ``text_column``.
    """
    try:
        columns = _columns(name, pq.read_schema(path), text_column, id_column)
        with pq.ParquetFile(path, buffer_size=_STREAM_BYTES, read_dictionary=[text_column]) as file:
            first, rows = 1, file.metadata.num_rows
            for table in file.iter_batches(batch_size=_ROWS, columns=columns):
                for records in _record_lists(table, columns, batch_bytes):
                    end = path.stat().st_size * (first + len(records)) // (rows + 1)
                    yield Batch(name=name, first=first, end=end, data=records)
                    first += len(records)
    except (pa.ArrowException, OSError) as error:
        problem = str(error).replace(str(path), path.name)
        raise DataError(f"{name}: not a complete Parquet file ({problem}); download or write it again") from None


def _record_lists(table: pa.RecordBatch, columns: list[str], batch_bytes: int) -> Iterator[list[Record]]:
    texts = _TextColumn(table.column(columns[0]))
    ids = _as_bytes(table.column(columns[1])).to_pylist() if len(columns) > 1 else [None] * len(table)
    records: list[Record] = []
    size = 0
    for row, id in enumerate(ids):
        records.append(texts.record(row, id))
        size += len(records[-1].text or b"") if isinstance(records[-1], TextRecord) else 0
        if size >= batch_bytes:
            yield records
            records, size = [], 0
    if records:
        yield records


class _TextColumn:
    """A column of strings, or of indices into a dictionary of them, which are copied out as bytes one at a time.

    As bytes, so that one string of invalid UTF-8 is one bad record and not the end of the file.
    """

    def __init__(self, column: pa.Array) -> None:
        has_dictionary = pa.types.is_dictionary(column.type)
        self._strings = _as_bytes(column.dictionary if has_dictionary else column)
        self._indices = column.indices.to_pylist() if has_dictionary else None

    def record(self, row: int, id: object) -> Record:
        index = row if self._indices is None else self._indices[row]
        string = None if index is None else self._strings[index].as_buffer()
        if string is None or string.size <= MAX_RECORD_BYTES:
            return TextRecord(id=id, text=None if string is None else string.to_pybytes())
        excerpt = string.slice(0, min(EXCERPT_BYTES, string.size)).to_pybytes()
        return OversizedRecord(reason="too_long", excerpt=excerpt, size=string.size)


def _columns(name: str, schema: pa.Schema, text_column: str, id_column: str) -> list[str]:
    if text_column not in schema.names:
        raise DataError(
            f"{name}: no column {text_column!r} for the text; it has {', '.join(schema.names)}; "
            "set the source's text to one of them"
        )
    type = schema.field(text_column).type
    if pa.types.is_dictionary(type):
        type = type.value_type
    if not _holds_text(type):
        raise DataError(
            f"{name}: column {text_column!r} holds {type}, expected strings; set the source's text to another one"
        )
    return [text_column, id_column] if id_column in schema.names and id_column != text_column else [text_column]


def _holds_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_binary(type))


def _as_bytes(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_binary()) if _holds_text(column.type) else column
