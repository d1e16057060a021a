"""Records of every format: good ones unchanged, bad ones preserved for cleaning to count."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import DataError
from palimpsest.raw import dataset_records as module
from palimpsest.raw.dataset_records import RecordStatistics, read_records

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
DOCUMENTS = st.lists(st.fixed_dictionaries({"key": TEXT.filter(bool), "body": TEXT}), min_size=1, max_size=8)


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def lines(documents: list[Any]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def read(data: bytes, name: str, text: str = "body", id_key: str = "key") -> list[bytes]:
    return list(read_records(io.BytesIO(data), name, text, id_key, RecordStatistics()))


@settings(deadline=None, max_examples=50)
@given(DOCUMENTS)
def test_every_format_gives_the_same_records(documents: list[dict[str, str]]) -> None:
    plain = lines(documents)
    forms = {
        "a.jsonl": plain,
        "a.json.gz": gzip.compress(plain),
        "a.jsonl.zst": zstandard.compress(plain),
        "a.parquet": parquet(pa.Table.from_pylist(documents), row_group_size=3),
    }
    expected = [{"id": document["key"], "text": document["body"]} for document in documents]
    for name, data in forms.items():
        assert [json.loads(line) for line in read(data, name)] == expected


BAD_LINES = [
    b'{"key": "cut", "body": "no end',
    b"\xff\xfe\xfa",
    b'{"body": "\xe9t\xe9"}',
    b"[1, 2]",
    b'"text"',
    b"NaN",
    b'{"body": "\\ud800"}',
    b"\x00\x00",
]


def test_lines_that_are_not_records_pass_unchanged() -> None:
    data = b'{"key": "good", "body": "text"}\n' + b"\n".join(BAD_LINES)
    assert read(data, "a.jsonl") == [b'{"id":"good","text":"text"}\n', *(line + b"\n" for line in BAD_LINES)]


@pytest.mark.parametrize("value", [None, 5, 1.5, True, [], {"a": 1}, ""])
def test_values_that_are_not_text_pass_unchanged(value: Any) -> None:
    statistics = RecordStatistics()
    (line,) = read_records(io.BytesIO(lines([{"key": "a", "body": value}])), "a.jsonl", "body", "key", statistics)
    assert json.loads(line) == {"id": "a", "text": value} and statistics.texts == 0
    (line,) = read(lines([{"key": "a"}]), "a.jsonl")
    assert json.loads(line) == {"id": "a", "text": None}


def test_missing_ids_are_generated() -> None:
    given = [{"body": "a"}, {"key": None, "body": "b"}, {"key": 7, "body": "c"}, {"key": "", "body": "d"}]
    found = [json.loads(line)["id"] for line in read(b"\r\n" + lines(given), "d/a.jsonl")]
    assert found == ["d/a.jsonl:1", "d/a.jsonl:2", "7", "d/a.jsonl:4"]
    table = pa.table({"body": ["a", "b"], "key": pa.array([None, "x"])})
    assert [json.loads(line)["id"] for line in read(parquet(table), "p.parquet")] == ["p.parquet:1", "x"]
    assert [json.loads(line)["id"] for line in read(parquet(table), "p.parquet", id_key="no")] == [
        "p.parquet:1", "p.parquet:2"]  # fmt: skip


def test_byte_order_mark_and_windows_line_ends() -> None:
    data = b"\xef\xbb\xbf" + b'{"body": "a"}\r\n\r\n{"body": "b"}\r\n'
    assert [json.loads(line)["text"] for line in read(data, "a.jsonl")] == ["a", "b"]


def test_an_endless_line_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_BYTES", 1000)
    long = b'{"body": "' + b"x" * 3_000_000 + b'"}'
    found = read(long + b'\n{"body": "next"}\n', "a.jsonl")
    assert found[0] == long[:1000] + b"\n"
    assert json.loads(found[1]) == {"id": "a.jsonl:2", "text": "next"}


def test_invalid_utf8_in_parquet_is_one_bad_record() -> None:
    offsets = pa.array([0, 2, 5, 7], pa.int32()).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b'okb\xff"ok')])
    found = read(parquet(pa.table({"body": column, "key": ["1", "2", "3"]})), "a.parquet")
    assert found == [b'{"id":"1","text":"ok"}\n', b'{"id":"2","text":"b\xff\\""}\n', b'{"id":"3","text":"ok"}\n']
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(found[1])


def test_invalid_utf8_in_an_id_spoils_no_text() -> None:
    keys = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")]
    )
    assert read(parquet(pa.table({"body": ["x"], "key": keys})), "a.parquet") == [
        '{"id":"a\ufffd","text":"x"}\n'.encode()
    ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_all_string_types_of_columns_are_read(kind: Any) -> None:
    table = pa.table({"body": pa.array(["a", None, ""], kind), "key": [1, 2, 3]})
    found = [json.loads(line) for line in read(parquet(table), "a.parquet")]
    assert found == [{"id": "1", "text": "a"}, {"id": "2", "text": None}, {"id": "3", "text": ""}]


WHOLE = parquet(pa.table({"body": [f"text {n} " * 50 for n in range(2000)]}), write_page_checksum=True)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.parquet", WHOLE[:-1000], "a.parquet: not a complete Parquet file"),
        ("a.parquet", b"", "a.parquet: not a complete Parquet file"),
        ("a.parquet", WHOLE[:2000] + bytes([WHOLE[2000] ^ 1]) + WHOLE[2001:], "a.parquet: .*after record"),
        ("a.parquet", parquet(pa.table({"content": ["x"]})), "no column 'body' for the text; it has content"),
        ("a.parquet", parquet(pa.table({"body": [1]})), "column 'body' holds int64, expected strings"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 99, mtime=0)[:-5], "a.jsonl.gz: cut short at byte"),
        ("a.jsonl.zst", zstandard.compress(b"{}\n" * 99)[:-5], "a.jsonl.zst: cut short at byte"),
        ("a.csv", b"body\ntext\n", "a.csv: unknown file type"),
    ],
)
def test_a_corrupt_file_is_an_error(name: str, data: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read(data, name)


def test_only_the_needed_columns_are_read(tmp_path: Path) -> None:
    table = pa.table({"noise": [bytes([n % 251]) * 4000 for n in range(3000)], "body": ["x"] * 3000})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False)
    bytes_read = 0

    class Counting(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal bytes_read
            data = super().read(size if size is not None else -1) or b""
            bytes_read += len(data)
            return data

    with Counting(path) as file:
        assert sum(1 for _ in read_records(file, "a.parquet", "body", "key", RecordStatistics())) == 3000
    assert bytes_read < path.stat().st_size // 20
