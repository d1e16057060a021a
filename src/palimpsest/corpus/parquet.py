"""Read two columns of a Parquet file row by row, whatever its row groups are like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from palimpsest.corpus.records import MAX_RECORD_BYTES, SHOWN_BYTES, Batch, Record, Refused, Row
from palimpsest.errors import DataError

_ROWS = 512
_STREAM_BYTES = 1 << 20


def read_parquet(path: Path, name: str, text: str, id_key: str, batch_bytes: int) -> Iterator[Batch]:
    """The rows in batches of about ``batch_bytes``.

    Pages are read one at a time, and a repeated string is held once (the file's dictionary), so that memory follows
    the size of pages and of a batch. Raises DataError for a damaged file, or one without a column of strings ``text``.
    """
    try:
        columns = _columns(name, pq.read_schema(path), text, id_key)
        with pq.ParquetFile(path, buffer_size=_STREAM_BYTES, read_dictionary=[text]) as file:
            first, rows = 1, file.metadata.num_rows
            for table in file.iter_batches(batch_size=_ROWS, columns=columns):
                for batch in _batches(table, columns, batch_bytes):
                    end = path.stat().st_size * (first + len(batch)) // (rows + 1)
                    yield Batch(name=name, first=first, end=end, data=batch)
                    first += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{name}: not a whole Parquet file ({_placeless(error, path)}); fetch or write it again"
        ) from None


def _placeless(error: Exception, path: Path) -> str:
    return str(error).replace(str(path), path.name)


def _batches(table: Any, columns: list[str], batch_bytes: int) -> Iterator[list[Record]]:
    texts = _Texts(table.column(columns[0]))
    ids = _as_bytes(table.column(columns[1])).to_pylist() if len(columns) > 1 else [None] * len(table)
    batch: list[Record] = []
    held = 0
    for at, name in enumerate(ids):
        batch.append(texts.record(at, name))
        held += len(batch[-1].text or b"") if isinstance(batch[-1], Row) else 0
        if held >= batch_bytes:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


class _Texts:
    """A column of strings, or of places in a dictionary of them, taken out as bytes, one at a time.

    As bytes, so that one string of invalid UTF-8 is one bad record and not the end of the file.
    """

    def __init__(self, column: Any) -> None:
        coded = pa.types.is_dictionary(column.type)
        self._strings = _as_bytes(column.dictionary if coded else column)
        self._places = column.indices.to_pylist() if coded else None

    def record(self, at: int, name: Any) -> Record:
        place = at if self._places is None else self._places[at]
        string = None if place is None else self._strings[place].as_buffer()
        if string is None or string.size <= MAX_RECORD_BYTES:
            return Row(id=name, text=None if string is None else string.to_pybytes())
        shown = string.slice(0, min(SHOWN_BYTES, string.size)).to_pybytes()
        return Refused(reason="too_long", shown=shown, size=string.size)


def _columns(name: str, schema: Any, text: str, id_key: str) -> list[str]:
    if text not in schema.names:
        raise DataError(
            f"{name}: no column {text!r} for the text; it has {', '.join(schema.names)}; "
            "set the source's text to one of them"
        )
    kind = schema.field(text).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not _holds_text(kind):
        raise DataError(f"{name}: column {text!r} holds {kind}, expected strings; set the source's text to another one")
    return [text, id_key] if id_key in schema.names and id_key != text else [text]


def _holds_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _as_bytes(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_binary()) if _holds_text(column.type) else column
