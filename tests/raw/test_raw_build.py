"""The raw stage's three kinds of source, and that cleaning finds what the sample corpus planted."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from palimpsest import recipe
from palimpsest.artifact import file_digest, read_json, read_manifest
from palimpsest.corpus.build import build as clean
from palimpsest.errors import DataError
from palimpsest.params import parse
from palimpsest.raw import hub, inventory
from palimpsest.raw.build import build
from palimpsest.raw.sample import cloze, documents

Lines = list[dict[str, Any]]


def spec(source: dict[str, Any], language: str = "en") -> dict[str, Any]:
    return {"language": language, "source": source, "inventory": None, "revision": 1}


def unpack(path: Path) -> Lines:
    with path.open("rb") as file:
        return [json.loads(line) for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    for name in ("b.jsonl", "a/c.jsonl", "a/deep/er/d.jsonl", "a/notes.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f'{{"text": "{name}"}}\n')
    return root


def local(path: str) -> dict[str, Any]:
    return {"kind": "local", "path": path, "text": "text", "id": "id"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*.jsonl", ["a/c.jsonl", "a/deep/er/d.jsonl", "b.jsonl"]),
        ("**/**/*.jsonl", ["a/c.jsonl", "a/deep/er/d.jsonl", "b.jsonl"]),
        ("a/**", ["c.jsonl", "deep/er/d.jsonl", "notes.md"]),
        ("a/de*/**/*.jsonl", ["deep/er/d.jsonl"]),
        ("[ab].jsonl", ["b.jsonl"]),
        ("a/c.jsonl", ["c.jsonl"]),
    ],
)
def test_names_are_relative_to_the_fixed_part(files: Path, tmp_path: Path, pattern: str, names: list[str]) -> None:
    entries = inventory.take(str(files / pattern), tmp_path / "cache")
    assert [entry["name"] for entry in entries] == names
    root = inventory.fixed_part(str(files / pattern))
    for entry in entries:
        path = root / entry["name"]
        assert (entry["bytes"], entry["xxh3_128"]) == (path.stat().st_size, file_digest(path))


def test_a_changed_added_or_renamed_file_changes_the_digest(files: Path, tmp_path: Path) -> None:
    cache, pattern = tmp_path / "cache", str(files / "**" / "*.jsonl")
    seen = [inventory.digest(pattern, cache)]
    (files / "b.jsonl").write_text('{"text": "x.jsonl"}\n')  # of the same size
    seen.append(inventory.digest(pattern, cache))
    (files / "new.jsonl").write_text("{}\n")
    seen.append(inventory.digest(pattern, cache))
    (files / "new.jsonl").rename(files / "newer.jsonl")
    seen.append(inventory.digest(pattern, cache))
    (files / "newer.jsonl").unlink()
    (files / "b.jsonl").write_text('{"text": "b.jsonl"}\n')
    assert len(set(seen)) == 4
    assert inventory.digest(pattern, cache) == seen[0]


def test_the_digest_knows_no_folder_and_no_other_file(files: Path, tmp_path: Path) -> None:
    first = inventory.digest(str(files / "**" / "*.jsonl"), tmp_path / "cache")
    moved = files.rename(tmp_path / "moved")
    (moved / "other.md").write_text("not asked for")
    assert inventory.digest(str(moved / "**" / "*.jsonl"), tmp_path / "cache") == first


def test_the_cache_saves_hashing_and_changes_no_answer(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(inventory, "file_digest", counting)
    cache, pattern = tmp_path / "cache", str(files / "**" / "*.jsonl")
    first = inventory.take(pattern, cache)
    assert inventory.take(pattern, cache) == first
    assert sorted(hashed) == ["b.jsonl", "c.jsonl", "d.jsonl"]
    path, hashed[:] = files / "b.jsonl", []
    size, modified = path.stat().st_size, path.stat().st_mtime_ns
    path.write_bytes(b"!" * size)
    os.utime(path, ns=(modified, modified + 1))
    second = inventory.take(pattern, cache)
    assert hashed == ["b.jsonl"] and second != first
    path.write_bytes(b"!" * (size + 1))
    os.utime(path, ns=(modified, modified + 1))
    third = inventory.take(pattern, cache)
    assert hashed == ["b.jsonl", "b.jsonl"]
    cache.write_bytes(b"{half a ca")
    assert inventory.take(pattern, cache) == third


def test_no_file_is_an_error_that_tells_the_pattern(files: Path, tmp_path: Path) -> None:
    for pattern in ("**/*.parquet", "none.jsonl", "a"):
        with pytest.raises(DataError, match="matches no file") as error:
            build(spec(local(str(files / pattern))), tmp_path / "out", tmp_path / "cache")
        assert pattern in str(error.value)
        assert not (tmp_path / "out" / "manifest.json").exists()


def test_local_folder_holds_references_only(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTS_OF_MINE", str(files))
    built = build(spec(local("${TEXTS_OF_MINE}/**/*.jsonl")), tmp_path / "out", tmp_path / "cache")
    assert sorted(path.name for path in built.folder.iterdir()) == ["manifest.json", "references.json"]
    entries = read_json(tmp_path / "out" / "references.json")
    assert entries == inventory.take(str(files / "**" / "*.jsonl"), tmp_path / "other")
    assert built.counts == {"files": 3, "bytes": sum(path.stat().st_size for path in files.rglob("*.jsonl"))}
    for path in built.folder.iterdir():
        assert str(tmp_path) not in path.read_text() and "TEXTS_OF_MINE" not in path.read_text()


def sample(seed: int = 0, number: int = 120) -> dict[str, Any]:
    return {"kind": "sample", "documents": number, "seed": seed}


def test_sample_parts_truth_and_cloze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palimpsest.raw.build._PART_BYTES", 40_000)
    built = build(spec(sample(), "fr"), tmp_path / "out", tmp_path / "cache")
    expected = list(documents("fr", 120, 0))
    parts = built.paths("part-")
    assert [path.name for path in parts] == [f"part-{number:05d}.jsonl.zst" for number in range(len(parts))]
    lines = [unpack(path) for path in parts]
    assert [line for part in lines for line in part] == [{"id": d.id, "text": d.text} for d in expected]
    sizes = [sum(len(json.dumps(x, ensure_ascii=False, separators=(",", ":")).encode()) + 1 for x in p) for p in lines]
    assert len(parts) > 1 and all(40_000 <= size < 45_000 for size in sizes[:-1])
    assert built.counts == {"documents": 120, "bytes": sum(sizes)}
    truth = unpack(tmp_path / "out" / "truth.jsonl.zst")
    assert truth == [{"id": d.id, "truth": d.truth, "of": d.of} for d in expected]
    assert unpack(tmp_path / "out" / "cloze.jsonl.zst") == [dict(question) for question in cloze("fr", 200, 0)]
    assert set(built.files) == {*(path.name for path in parts), "truth.jsonl.zst", "cloze.jsonl.zst"}


def test_equal_work_gives_equal_bytes_in_any_folder(tmp_path: Path) -> None:
    one, two = (build(spec(sample()), tmp_path / name / "en", tmp_path / "cache") for name in ("one", "two"))
    assert one.digest == two.digest and one.files == two.files
    assert str(tmp_path) not in (one.folder / "manifest.json").read_text()
    other = build(spec(sample(seed=1)), tmp_path / "three", tmp_path / "cache")
    assert other.files["part-00000.jsonl.zst"] != one.files["part-00000.jsonl.zst"]


def test_a_smaller_rebuild_leaves_no_part_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palimpsest.raw.build._PART_BYTES", 20_000)
    build(spec(sample()), tmp_path / "out", tmp_path / "cache")
    rebuilt = build(spec(sample(number=3)), tmp_path / "out", tmp_path / "cache")
    fresh = build(spec(sample(number=3)), tmp_path / "fresh", tmp_path / "cache")
    assert rebuilt.digest == fresh.digest
    assert len(list((tmp_path / "out").glob("part-*"))) == len(rebuilt.paths("part-")) == 1


def test_a_failed_rebuild_takes_the_old_manifest_away(tmp_path: Path) -> None:
    build(spec(sample(number=3)), tmp_path / "out", tmp_path / "cache")
    with pytest.raises(DataError):
        build(spec(local(str(tmp_path / "none"))), tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out" / "manifest.json").exists()


ROWS: Lines = [{"key": f"doc-{n}", "body": f"Text {n}: «é» 日本\nline", "url": f"u{n}"} for n in range(9)]
HOLES = {1: None, 4: ""}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A hub dataset's layout with the same rows as Parquet and three kinds of JSONL; rows 1 and 4 have no text."""
    rows = [row | ({"body": HOLES[n]} if n in HOLES else {}) for n, row in enumerate(ROWS)]
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    (data.parent / "README.md").write_text("# A set\n")
    # Written in reverse, so that only sorting gives the order.
    for number, half in ((1, rows[5:]), (0, rows[:5])):
        pq.write_table(pa.Table.from_pylist(half), data / f"train-{number:05d}-of-00002.parquet")
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in half)
        (data / f"plain-{number}.jsonl").write_bytes(lines)
        (data / f"gzip-{number}.jsonl.gz").write_bytes(gzip.compress(lines))
        (data / f"zstd-{number}.jsonl.zst").write_bytes(zstandard.compress(lines))
    pq.write_table(pa.table({"key": ["other"], "body": ["a test split"]}), data / "test-00000-of-00001.parquet")
    return data.parent


def hf(dataset: Path | str, **source: Any) -> dict[str, Any]:
    shape = {"kind": "hf", "dataset": str(dataset), "revision": None, "text": "body", "id": "key"}
    return shape | {"files": "data/train-*.parquet", "max_documents": None} | source


FORMATS = ["data/train-*.parquet", "data/plain-*.jsonl", "data/gzip-*.jsonl.gz", "data/zstd-*.jsonl.zst"]
WITH_TEXT = [{"id": row["key"], "text": row["body"]} for n, row in enumerate(ROWS) if n not in HOLES]


@pytest.mark.parametrize("pattern", FORMATS)
def test_a_local_folder_of_the_hubs_layout(dataset: Path, tmp_path: Path, pattern: str) -> None:
    built = build(spec(hf(dataset, files=pattern)), tmp_path / "out", tmp_path / "cache")
    assert unpack(tmp_path / "out" / "part-00000.jsonl.zst") == WITH_TEXT
    assert built.counts["documents"] == len(WITH_TEXT)
    assert str(tmp_path) not in (built.folder / "manifest.json").read_text()
    few = build(spec(hf(dataset, files=pattern, max_documents=5)), tmp_path / "few", tmp_path / "cache")
    assert unpack(few.folder / "part-00000.jsonl.zst") == WITH_TEXT[:5]


@pytest.mark.parametrize("pattern", FORMATS)
def test_rows_without_an_id_are_named_by_file_and_place(dataset: Path, pattern: str) -> None:
    found = list(hub.documents(hf(dataset, files=pattern, id="none")))
    assert [document["text"] for document in found] == [document["text"] for document in WITH_TEXT]
    ids = [document["id"] for document in found]
    assert len(set(ids)) == len(ids)
    assert all(name.startswith(pattern.partition("*")[0]) for name in ids)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({"text": "content"}, ["'content'", "check text"]),
        ({"text": "content", "files": "data/plain-*.jsonl"}, ["'content'", "check text"]),
        ({"files": "data/valid-*.parquet"}, ["'data/valid-*.parquet'", "check dataset, revision, files"]),
        ({"files": "data/broken.parquet"}, ["data/broken.parquet", "ArrowInvalid"]),
        ({"files": "data/broken.jsonl"}, ["data/broken.jsonl", "check dataset, revision, files"]),
        ({"files": "data/broken.jsonl.gz"}, ["data/broken.jsonl.gz", "EOFError"]),
        ({"files": "data/broken.jsonl.zst"}, ["data/broken.jsonl.zst", "ZstdError"]),
    ],
)
def test_what_cannot_be_used_names_what_to_check(
    dataset: Path, tmp_path: Path, source: dict[str, Any], named: list[str]
) -> None:
    whole = (dataset / "data" / "gzip-0.jsonl.gz").read_bytes()
    broken = {"parquet": b"PAR1", "jsonl": b"[1]\n", "jsonl.gz": whole[: len(whole) // 2], "jsonl.zst": b"not zstd"}
    for suffix, data in broken.items():
        (dataset / "data" / f"broken.{suffix}").write_bytes(data)
    with pytest.raises(DataError) as error:
        build(spec(hf(dataset, **source)), tmp_path / "out", tmp_path / "cache")
    assert all(part in str(error.value) for part in [str(dataset), *named])
    assert not (tmp_path / "out" / "manifest.json").exists()


class HttpError(Exception):
    """Like the hub's HTTP client's errors, which are no OSError."""


@pytest.mark.parametrize("kind", [ConnectionError, HttpError])
def test_a_hub_dataset_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def unreachable(folder: str, **_: Any) -> None:
        raise kind(f"cannot reach {folder}")

    monkeypatch.setattr(hub, "ParquetReader", unreachable)
    with pytest.raises(DataError) as error:
        build(spec(hf("owner/name", revision="a" * 40)), tmp_path / "out", tmp_path / "cache")
    assert f"hf://datasets/owner/name@{'a' * 40}" in str(error.value)
    assert "the network" in str(error.value)
    assert isinstance(error.value.__cause__, kind)
    assert list((tmp_path / "out").iterdir()) == []


REASONS = {
    "exact_duplicate": {"exact_duplicate"},
    "near_duplicate": {"near_duplicate", "exact_duplicate"},
    "wrong_language": {"language"},
}


def test_cleaning_finds_the_planted_truth(tmp_path: Path) -> None:
    sources = {"en": {"kind": "sample", "documents": 300}}
    params = parse({"languages": ["en"], "corpus": {"sources": sources, "validation_fraction": 0.1}}, "here")
    build(recipe.raw(params, "en", None), tmp_path / "raw", tmp_path / "cache")
    clean(recipe.corpus(params, "en"), tmp_path / "raw", tmp_path / "corpus")
    corpus = read_manifest(tmp_path / "corpus", "corpus")
    kept = {line["id"] for split in ("train/", "validation/") for path in corpus.paths(split) for line in unpack(path)}
    reason = {line["id"]: line["reason"] for line in unpack(tmp_path / "corpus" / "dropped.jsonl.zst")}
    truth = {line["id"]: line["truth"] for line in unpack(tmp_path / "raw" / "truth.jsonl.zst")}
    assert kept | reason.keys() == truth.keys() and not kept & reason.keys()
    clean_ones = {name for name, kind in truth.items() if kind == "clean"}
    assert set(truth.values()) == {"clean", "junk", *REASONS}
    assert {name: truth[name] for name in kept - clean_ones} == {}
    assert len(kept) >= 0.97 * len(clean_ones)
    for name, kind in truth.items():
        assert reason.get(name) in REASONS.get(kind, {reason.get(name)}), (name, kind)
