"""Every type of file gives the same documents; bad records are dropped and named, bad files refused."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from support.corpus_stage import CorpusStage, compressed, jsonl, parquet

from palimpsest.errors import DataError

NASTY = Path(os.environ.get("PALIMPSEST_TEXT", "")) / "nasty"
needs_text = pytest.mark.skipif("PALIMPSEST_TEXT" not in os.environ, reason="PALIMPSEST_TEXT is not set")
TEXTS = [f"Text number {number}: été, Straße, 猫, نهر.\n\nSecond paragraph {number}." for number in range(40)]
DOCUMENTS = [{"id": f"d{number}", "text": text} for number, text in enumerate(TEXTS)]


def test_every_file_type_gives_the_same_documents(stage: CorpusStage) -> None:
    lines = jsonl(DOCUMENTS)
    middle = lines.index(b"\n", len(lines) // 2) + 1
    columns = {"text": TEXTS, "id": [document["id"] for document in DOCUMENTS]}
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    files = {
        "plain.jsonl": lines,
        "crlf_bom.jsonl": b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n"),
        "no_newline_at_end.jsonl": lines[:-1],
        "members.jsonl.gz": gzip.compress(lines[:middle]) + gzip.compress(lines[middle:]),
        "frames.jsonl.zst": zstandard.compress(lines[:middle]) + skippable + zstandard.compress(lines[middle:]),
        "split_line.jsonl.zst": zstandard.compress(lines[: middle - 9]) + zstandard.compress(lines[middle - 9 :]),
        "groups.parquet": parquet(columns, row_group_size=7),
        "large.parquet": parquet({**columns, "text": pa.array(TEXTS, pa.large_string())}),
    }
    expected = {(document["id"], document["text"]) for document in DOCUMENTS}
    for name, data in files.items():
        result = stage.run({name: data}, out=name)
        assert {(document["id"], document["text"]) for document in result.kept} == expected, name
        assert result.manifest.counts["documents_in"] == len(DOCUMENTS)


def test_text_files_are_one_document_each(stage: CorpusStage) -> None:
    names = [f"sub/{number}.{('txt', 'txt.gz', 'text.zst')[number % 3]}" for number in range(len(TEXTS))]
    files = {name: compressed(name, text.encode()) for name, text in zip(names, TEXTS, strict=True)}
    result = stage.run(files)
    assert result.texts == set(TEXTS)
    assert {document["id"] for document in result.kept} == {f"local/{name}:1" for name in files}


def test_ids_fall_back_to_file_and_line(stage: CorpusStage) -> None:
    good = {"text": "a text"}
    records: list[dict[str, Any]] = [
        good,
        {"id": 7, **good},
        {"id": None, **good},
        {"id": True, **good},
        {"id": "", **good},
    ]
    result = stage.run({"a.jsonl": jsonl(records), "b.jsonl": jsonl(DOCUMENTS)})
    ids = {document["id"] for document in result.kept} - {document["id"] for document in DOCUMENTS}
    assert ids == {"local/a.jsonl:1", "7", "local/a.jsonl:3", "local/a.jsonl:4", "local/a.jsonl:5"}


def test_bad_records_are_dropped_under_their_reason_with_their_position(stage: CorpusStage) -> None:
    bad = {
        b'{"id": "x", "text": "unterminated': "bad_json",
        b"[1, 2]": "bad_json",
        b'"text"': "bad_json",
        b'{"text": NaN}': "bad_json",
        b'{"text": "half a pair \\ud800"}': "bad_json",
        b'{"text": "caf\xe9"}': "bad_utf8",
        b'{"id": "only"}': "no_text",
        b'{"text": null}': "no_text",
        b'{"text": 3}': "no_text",
        b'{"text": "\\u200b\\ufeff\\u00a0\\u2028 \\u0000"}': "no_text",
    }
    data = b"\n".join([*bad, b"", b"  "]) + b"\n" + jsonl(DOCUMENTS)
    result = stage.run({"bad.jsonl": data})
    found = {(entry["id"], entry["reason"]) for entry in result.dropped}
    assert found == {(f"local/bad.jsonl:{line}", reason) for line, reason in enumerate(bad.values(), 1)}
    assert result.manifest.counts["dropped"] == {"bad_json": 5, "bad_utf8": 1, "no_text": 4}
    assert result.manifest.counts["documents_in"] == len(bad) + len(DOCUMENTS)


def test_one_bad_string_does_not_end_a_parquet_file(stage: CorpusStage) -> None:
    texts = pa.array([b"caf\xe9", None, *(text.encode() for text in TEXTS)], pa.binary())
    views = pa.Array.from_buffers(pa.string(), len(texts), texts.buffers())
    result = stage.run({"a.parquet": parquet({"text": views})})
    assert result.texts == set(TEXTS)
    assert result.manifest.counts["dropped"] == {"bad_utf8": 1, "no_text": 1}
    assert {entry["id"] for entry in result.dropped} == {"local/a.parquet:1", "local/a.parquet:2"}


@pytest.mark.parametrize(
    ("name", "corrupt", "message"),
    [
        ("a.jsonl.zst", lambda data: zstandard.compress(data)[:-20], "cut short at byte"),
        ("a.jsonl.gz", lambda data: gzip.compress(data)[:-9], "cut short at byte"),
        ("a.jsonl.zst", lambda data: data, "holds no zstd data at byte 0"),
        ("a.jsonl.gz", lambda _: b"", "cut short at byte 0"),
        ("a.parquet", lambda _: parquet({"text": ["x"]})[:-30], "not a complete Parquet file"),
        ("a.parquet", lambda _: parquet({"body": ["x"]}), "no column 'text' for the text; it has body"),
        ("a.parquet", lambda _: parquet({"text": [1]}), "holds int64"),
        ("a.csv", lambda data: data, "expected a name ending in one of .jsonl"),
    ],
)
def test_bad_files_are_refused_by_name(
    stage: CorpusStage, name: str, corrupt: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        stage.run({name: corrupt(jsonl(DOCUMENTS))})
    assert name in str(caught.value)
    assert not (stage.out / "manifest.json").exists()


def test_a_file_changed_after_the_raw_stage_is_refused(stage: CorpusStage) -> None:
    stage.place(local={"a.jsonl": jsonl(DOCUMENTS)})
    path = stage.source / "local" / "a.jsonl"
    path.write_bytes(path.read_bytes().replace(b"number 3", b"number 4"))
    with pytest.raises(DataError, match=r"a\.jsonl: changed since the raw stage saw it"):
        stage.build(stage.spec())


@needs_text
def test_nasty_files(stage: CorpusStage) -> None:
    names = [path.name for path in sorted(NASTY.iterdir()) if path.name != "21_truncated.jsonl.zst"]
    result = stage.run({name: (NASTY / name).read_bytes() for name in names})
    found = {(entry["id"], entry["reason"]) for entry in result.dropped}
    assert ("local/02_invalid_utf8_in_jsonl.jsonl:2", "bad_utf8") in found
    assert {f"local/11_bad_json.jsonl:{line}" for line in (1, 2, 3, 4, 6)} == {
        place for place, reason in found if reason == "bad_json"
    }
    assert sum(reason == "no_text" and place.startswith("local/09_") for place, reason in found) == 6
    assert not any("\ufeff" in text or "\r" in text for text in result.texts)
    frames = zstandard.ZstdDecompressor().stream_reader(
        (NASTY / "23_multi_frame.jsonl.zst").read_bytes(), read_across_frames=True
    )
    ids = {json.loads(line)["id"] for line in frames.read().splitlines()}
    assert ids <= {document["id"] for document in result.kept}


@needs_text
def test_nasty_truncated_file(stage: CorpusStage) -> None:
    data = (NASTY / "21_truncated.jsonl.zst").read_bytes()
    with pytest.raises(DataError, match=rf"21_truncated\.jsonl\.zst: cut short at byte {len(data)}"):
        stage.run({"21_truncated.jsonl.zst": data})
