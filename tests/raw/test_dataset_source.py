"""Sources of kind hf from a local folder: formats, quotas, resuming, and a process killed while reading."""

import gzip
import itertools
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from support.killed_process import run_program
from support.raw_specs import raw_spec

from palimpsest.artifact import read_json
from palimpsest.codec import encode
from palimpsest.errors import DataError
from palimpsest.raw import dataset_records, dataset_source, parts
from palimpsest.raw.build_raw import build_raw
from palimpsest.settings.sources import HfSource
from palimpsest.specs.data import RawSpec

Lines = list[dict[str, Any]]
ROWS: Lines = [{"key": f"doc-{n}", "body": f"Text {n}: «é» 日本\nline", "url": f"u{n}"} for n in range(9)]
FORMATS = ["data/train-*.parquet", "data/plain-*.jsonl", "data/gzip-*.jsonl.gz", "data/zstd-*.jsonl.zst"]
EXPECTED = [{"id": row["key"], "text": row["body"]} for row in ROWS]


def hf(folder: Path, **settings: Any) -> HfSource:
    values = {"folder": str(folder), "text": "body", "id": "key", "files": FORMATS[0]} | settings
    return HfSource(kind="hf", name="web", **values)


def spec(source: HfSource, inventory: str = "hash of its files") -> RawSpec:
    return raw_spec(source, inventory={"web": inventory})


def unpack(path: Path) -> Lines:
    with path.open("rb") as file:
        return [orjson.loads(line) for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()]


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hub dataset's layout with the same rows as Parquet and three kinds of JSONL."""
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    (data.parent / "README.md").write_text("---\nlanguage: en\nlicense: odc-by\n---\n# A set\n")
    # Written in reverse, so that only sorting gives the order.
    for number, half in ((1, ROWS[5:]), (0, ROWS[:5])):
        pq.write_table(pa.Table.from_pylist(half), data / f"train-{number:05d}-of-00002.parquet")
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in half)
        (data / f"plain-{number}.jsonl").write_bytes(lines)
        (data / f"gzip-{number}.jsonl.gz").write_bytes(gzip.compress(lines))
        (data / f"zstd-{number}.jsonl.zst").write_bytes(zstandard.compress(lines))
    pq.write_table(pa.table({"key": ["other"], "body": ["a test split"]}), data / "test-00000-of-00001.parquet")
    return data.parent


@pytest.mark.parametrize("pattern", FORMATS)
def test_a_folder_with_the_layout_of_the_hub(folder: Path, tmp_path: Path, pattern: str) -> None:
    built = build_raw(spec(hf(folder, files=pattern)), tmp_path / "out", tmp_path / "cache")
    web = built.folder / "web"
    # A part ends with a file of the dataset, so that a finished one is never touched again.
    assert [unpack(path) for path in built.paths("web/part-")] == [EXPECTED[:5], EXPECTED[5:]]
    size = sum(len(orjson.dumps(line)) + 1 for line in EXPECTED)
    record = {"kind": "hf", "licence": "odc-by", "origin": None, "files": 2, "documents": 9, "bytes": size}
    assert built.counts == {"sources": {"web": record}}
    assert set(built.files) == {f"web/{path.name}" for path in web.iterdir()}
    for path in built.folder.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()
    assert built.params["sources"][0]["dataset"] == "" and "folder" not in built.params["sources"][0]


def test_the_licence_in_params_overrides_that_of_the_card(folder: Path, tmp_path: Path) -> None:
    built = build_raw(spec(hf(folder, licence="mine", origin="here")), tmp_path / "out", tmp_path / "cache")
    assert built.counts["sources"]["web"]["licence"] == "mine"
    for card, licence in (
        ("no header", None),
        ("---\nlicense: [mit, cc0-1.0]\n---", "mit, cc0-1.0"),
        ("---\n- 1\n---", None),
    ):
        (folder / "README.md").write_text(card)
        built = build_raw(spec(hf(folder)), tmp_path / "other", tmp_path / "cache")
        assert built.counts["sources"]["web"]["licence"] == licence
        (built.folder / "web" / "source.json").unlink()


@pytest.mark.parametrize("pattern", FORMATS)
def test_quotas_are_exact(folder: Path, tmp_path: Path, pattern: str) -> None:
    sizes = [len(orjson.dumps(line)) + 1 for line in EXPECTED]
    ends = list(itertools.accumulate(sizes))
    most = [ends[0], ends[3] - 1, ends[3], ends[3] + 1, ends[4], ends[8] - 1, ends[8], ends[8] + 1]
    cases = [(n, None, n) for n in (1, 4, 5, 6, 9, 10)] + [
        (None, size, sum(end <= size for end in ends)) for size in most
    ]
    for documents, size, expected in [*cases, (4, ends[2], 3), (2, ends[2], 2)]:
        source = hf(folder, files=pattern, max_documents=documents, max_bytes=size)
        built = build_raw(spec(source), tmp_path / "out", tmp_path / "cache")
        found = [line for path in built.paths("web/part-") for line in unpack(path)]
        assert found == EXPECTED[:expected], (documents, size)
        record = built.counts["sources"]["web"]
        assert record["documents"] == len(found) and record["bytes"] == ([0, *ends])[len(found)]
        assert record["files"] == (1 if documents and documents <= 5 else record["files"])


def test_only_settings_that_affect_the_parts_cause_a_new_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    honest = dataset_records.read_records

    def read_records(file: BinaryIO, name: str, *rest: Any) -> Iterator[bytes]:
        read.append(name)
        return honest(file, name, *rest)

    monkeypatch.setattr(dataset_source, "read_records", read_records)
    first = build_raw(spec(hf(folder)), tmp_path / "out", tmp_path / "cache")
    assert len(read) == 2
    again = build_raw(spec(hf(folder, origin="told later")), tmp_path / "out", tmp_path / "cache")
    assert len(read) == 2 and again.counts["sources"]["web"]["origin"] == "told later"
    next(iter(first.paths("web/part-00001"))).unlink()
    mended = build_raw(spec(hf(folder)), tmp_path / "out", tmp_path / "cache")
    assert read[2:] == ["data/train-00001-of-00002.parquet"] and mended.digest == first.digest
    build_raw(spec(hf(folder, id="url")), tmp_path / "out", tmp_path / "cache")
    build_raw(spec(hf(folder, id="url"), "other"), tmp_path / "out", tmp_path / "cache")
    assert len(read) == 7


def test_a_truncated_journal_and_a_missing_part(folder: Path, tmp_path: Path) -> None:
    asked = spec(hf(folder, max_documents=7))
    first = build_raw(asked, tmp_path / "out", tmp_path / "cache")
    whole = everything(first.folder)
    journal = first.folder / "web" / dataset_source.JOURNAL
    for cut in range(1, len(whole["web/read.jsonl"]), 17):
        (first.folder / "web" / "source.json").unlink()
        journal.write_bytes(whole["web/read.jsonl"][:-cut])
        (first.folder / "web" / "part-00007.jsonl.zst").write_bytes(b"stale")
        (first.folder / "web" / ".part-00001.jsonl.zst.99.tmp").write_bytes(b"stale")
        build_raw(asked, tmp_path / "out", tmp_path / "cache")
        assert everything(first.folder) == whole


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"text": "content"}, ["'content'", "key, body, url", "set the source's text"]),
        ({"text": "content", "files": "data/plain-*.jsonl"}, ["'content'", "key, body, url", "check text"]),
        ({"files": "data/valid-*.parquet"}, ["'data/valid-*.parquet' matches no file", "correct the glob"]),
        ({"files": "data/broken.parquet"}, ["data/broken.parquet", "not a complete Parquet file"]),
        ({"files": "data/broken.jsonl"}, ["data/broken.jsonl", "check text"]),
        ({"files": "data/broken.jsonl.gz"}, ["data/broken.jsonl.gz: cut short"]),
        ({"files": "data/broken.jsonl.zst"}, ["data/broken.jsonl.zst: corrupt near byte 0"]),
        ({"files": "README.md"}, ["README.md: unknown file type"]),
    ],
)
def test_unusable_files_and_columns_are_errors(
    folder: Path, tmp_path: Path, source: dict[str, Any], expected: list[str]
) -> None:
    whole = (folder / "data" / "gzip-0.jsonl.gz").read_bytes()
    broken = {"parquet": b"PAR1", "jsonl": b"[1]\n", "jsonl.gz": whole[: len(whole) // 2], "jsonl.zst": b"not zstd"}
    for suffix, data in broken.items():
        (folder / "data" / f"broken.{suffix}").write_bytes(data)
    with pytest.raises(DataError) as error:
        build_raw(spec(hf(folder, **source)), tmp_path / "out", tmp_path / "cache")
    assert all(part in str(error.value) for part in [str(folder), *expected])
    assert not (tmp_path / "out" / "manifest.json").exists() and not (tmp_path / "out" / "web" / "source.json").exists()


def test_a_wrong_column_is_noticed_early(folder: Path, tmp_path: Path) -> None:
    for number in (2, 3):
        (folder / "data" / f"plain-{number}.jsonl").write_bytes(b'{"other": 1}\n' * 1500)
    (folder / "data" / "plain-4.jsonl.gz").write_bytes(b"not read")
    with pytest.raises(DataError, match=r"no record of .* has text under 'content'"):
        build_raw(spec(hf(folder, text="content", files="data/plain-[234]*")), tmp_path / "out", tmp_path / "cache")


PROGRAM = """
import json, sys
from pathlib import Path
from palimpsest import codec
from palimpsest.raw import parts
from palimpsest.raw.build_raw import build_raw
from palimpsest.specs.data import RawSpec
from support.killed_process import kill_at_change
spec, out, cache, limit = json.loads(sys.argv[1])
parts.PART_BYTES = 150_000
changes = kill_at_change(out, limit)
build_raw(codec.decode(RawSpec, spec, "spec"), Path(out), Path(cache))
print(changes())
"""


@pytest.mark.slow
def test_killed_at_any_point_it_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    for number in range(12):
        rng = random.Random(number)
        rows = [{"key": f"{number}-{n}", "body": rng.randbytes(150).hex()} for n in range(2000)]
        pq.write_table(pa.Table.from_pylist(rows), data / f"train-{number:02d}.parquet")
    whole_spec = spec(hf(tmp_path / "set", max_bytes=7_456_789))
    monkeypatch.setattr(parts, "PART_BYTES", 150_000)
    whole = everything(build_raw(whole_spec, tmp_path / "whole", tmp_path / "cache").folder)
    out, rng, kills, finished = tmp_path / "out", random.Random(7), 0, 0
    journal = out / "web" / dataset_source.JOURNAL

    def run(limit: int) -> subprocess.CompletedProcess[str]:
        return run_program(PROGRAM, encode(whole_spec), str(out), str(tmp_path / "out.cache"), limit)

    while (result := run(rng.randrange(3, 40))).returncode:
        assert result.returncode == -signal.SIGKILL, result.stderr
        lines = journal.read_bytes().count(b"\n") if journal.exists() else 0
        assert lines >= finished, "a finished file was read again"
        kills, finished = kills + 1, lines
    assert kills >= 4
    assert everything(out) == whole
    assert read_json(out / "manifest.json")["counts"]["sources"]["web"]["bytes"] <= 7_456_789
