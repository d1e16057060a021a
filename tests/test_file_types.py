"""File types by the extensions of names."""

import pytest

from palimpsest.file_types import Compression, FileType, Format, compression, extensions, file_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", FileType(Format.JSON_LINES)),
        ("sub/a.b.ndjson.gz", FileType(Format.JSON_LINES, Compression.GZIP)),
        ("a.json.zstd", FileType(Format.JSON, Compression.ZSTD)),
        ("a.txt.zst", FileType(Format.TEXT, Compression.ZSTD)),
        ("a.parquet", FileType(Format.PARQUET)),
        ("a.warc.wet.gz", FileType(Format.WARC, Compression.GZIP)),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("a.jsonl.gz.gz", None),
        ("a.jsonl.zip", None),
        ("jsonl", None),
    ],
)
def test_a_name_has_one_type(name: str, expected: FileType | None) -> None:
    assert file_type(name) == expected


def test_compression_is_recognised_without_a_format() -> None:
    assert [compression(name) for name in ("a.csv.gz", "a.csv.zst", "a.csv")] == ["gzip", "zstd", None]


def test_a_message_lists_the_endings_of_its_formats() -> None:
    assert extensions(Format.WARC) == ".warc, .wet (or these with .gz, .zst, .zstd)"
    assert extensions(Format.PARQUET, Format.TEXT) == ".text, .txt (or these with .gz, .zst, .zstd), .parquet"
