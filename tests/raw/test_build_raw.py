"""The raw folder of a language with its sources, and cleaning against the flaws planted in the sample corpus."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.raw_specs import raw_spec as spec
from support.web_server import WebServer

from palimpsest.artifact import canonical_json, fingerprint, read_json, read_manifest
from palimpsest.codec import encode
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.errors import DataError
from palimpsest.experiment import build_specs
from palimpsest.experiment.inventory import Inventory
from palimpsest.params import parse
from palimpsest.raw import parts
from palimpsest.raw.build_raw import build_raw
from palimpsest.raw.local_files import list_files
from palimpsest.raw.sample import cloze_questions, sample_documents
from palimpsest.settings.sources import Download, HttpSource, LocalSource, SampleSource, Source, WarcSource

Lines = list[dict[str, Any]]


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpack(path: Path) -> Lines:
    with path.open("rb") as file:
        return [json.loads(line) for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()]


def local(path: str, name: str = "local", **settings: Any) -> LocalSource:
    return LocalSource(kind="local", name=name, path=path, **settings)


def test_no_file_is_an_error_that_names_the_pattern(files: Path, tmp_path: Path) -> None:
    for pattern in ("**/*.parquet", "none.jsonl", "a"):
        with pytest.raises(DataError, match="matches no file") as error:
            build_raw(spec(local(str(files / pattern))), tmp_path / "out", tmp_path / "cache")
        assert pattern in str(error.value)
        assert not (tmp_path / "out" / "manifest.json").exists()


def test_local_files_are_referenced_only(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTS_OF_MINE", str(files))
    given = local("${TEXTS_OF_MINE}/**/*.jsonl", licence="cc0-1.0", origin="my desk")
    built = build_raw(spec(given, inventory={"local": "abc"}), tmp_path / "out", tmp_path / "cache")
    assert sorted(everything(built.folder)) == ["local/references.json", "local/source.json", "manifest.json"]
    entries = read_json(tmp_path / "out" / "local" / "references.json")
    assert entries == encode(list_files(str(files / "**" / "*.jsonl"), tmp_path / "other"))
    size = sum(path.stat().st_size for path in files.rglob("*.jsonl"))
    record = {"kind": "local", "licence": "cc0-1.0", "origin": "my desk", "files": 3, "bytes": size}
    assert built.counts == {"sources": {"local": record}}
    for data in everything(built.folder).values():
        assert str(tmp_path).encode() not in data and b"TEXTS_OF_MINE" not in data


def sample(seed: int = 0, number: int = 120, name: str = "sample") -> SampleSource:
    return SampleSource(kind="sample", name=name, documents=number, seed=seed)


def test_sample_parts_truth_and_cloze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 40_000)
    built = build_raw(spec(sample(), language="fr"), tmp_path / "out", tmp_path / "cache")
    expected = list(sample_documents("fr", 120, 0))
    paths = built.paths("sample/part-")
    assert [path.name for path in paths] == [f"part-{number:05d}.jsonl.zst" for number in range(len(paths))]
    lines = [unpack(path) for path in paths]
    assert [line for part in lines for line in part] == [{"id": d.id, "text": d.text} for d in expected]
    sizes = [sum(len(json.dumps(x, ensure_ascii=False, separators=(",", ":")).encode()) + 1 for x in p) for p in lines]
    assert len(paths) > 1 and all(40_000 <= size < 45_000 for size in sizes[:-1])
    record = {"kind": "sample", "licence": "Apache-2.0", "origin": None, "documents": 120, "bytes": sum(sizes)}
    assert built.counts == {"sources": {"sample": record}}
    truth = unpack(tmp_path / "out" / "sample" / "truth.jsonl.zst")
    assert truth == [{"id": d.id, "truth": d.truth, "of": d.of} for d in expected]
    assert unpack(tmp_path / "out" / "sample" / "cloze.jsonl.zst") == [
        dict(one) for one in cloze_questions("fr", 200, 0)
    ]
    assert set(built.files) == set(everything(built.folder)) - {"manifest.json"}


def test_equal_work_gives_equal_bytes_in_any_folder(tmp_path: Path) -> None:
    one, two = (build_raw(spec(sample()), tmp_path / name / "en", tmp_path / "cache") for name in ("one", "two"))
    assert everything(one.folder) == everything(two.folder)
    other = build_raw(spec(sample(seed=1)), tmp_path / "three", tmp_path / "cache")
    assert other.files["sample/part-00000.jsonl.zst"] != one.files["sample/part-00000.jsonl.zst"]


def times(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def test_a_source_is_reused_while_others_are_added_changed_and_removed(files: Path, tmp_path: Path) -> None:
    out, cache, pattern = tmp_path / "out", tmp_path / "cache", str(files / "**" / "*.jsonl")
    both = spec(sample(number=9), local(pattern), inventory={"local": "one"})
    first = build_raw(both, out, cache)
    assert list(first.counts["sources"]) == ["local", "sample"] == sorted(first.counts["sources"])
    before, bytes_before = times(out), everything(out)

    (files / "b.jsonl").write_text("changed")
    build_raw(spec(sample(number=9), local(pattern), inventory={"local": "two"}), out, cache)
    after = times(out)
    assert {name for name in after if name.startswith("sample/") and after[name] != before[name]} == set()
    assert after["local/references.json"] != before["local/references.json"]

    build_raw(spec(sample(number=9)), out, cache)
    assert {name.partition("/")[0] for name in everything(out)} == {"sample", "manifest.json"}
    (files / "b.jsonl").write_text('{"text": "b.jsonl"}\n')
    build_raw(both, out, cache)
    assert everything(out) == bytes_before
    assert {name: times(out)[name] for name in before if name.startswith("sample/")} == {
        name: time for name, time in before.items() if name.startswith("sample/")
    }


@pytest.mark.parametrize("name", ["part-00000.jsonl.zst", "truth.jsonl.zst", "source.json"])
@pytest.mark.parametrize("corrupt", [Path.unlink, lambda path: path.write_bytes(b"{")])
def test_a_missing_or_truncated_file_is_written_again(tmp_path: Path, name: str, corrupt: Any) -> None:
    whole = everything(build_raw(spec(sample(number=3)), tmp_path / "out", tmp_path / "cache").folder)
    corrupt(tmp_path / "out" / "sample" / name)
    build_raw(spec(sample(number=3)), tmp_path / "out", tmp_path / "cache")
    assert everything(tmp_path / "out") == whole


def test_a_changed_source_leaves_no_old_files(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 20_000)
    build_raw(spec(sample(name="x")), tmp_path / "out", tmp_path / "cache")
    changes: tuple[Source, ...] = (
        sample(name="x", number=3),
        local(str(files / "b.jsonl"), name="x"),
        sample(name="x"),
    )
    for number, source in enumerate(changes):
        built = build_raw(spec(source), tmp_path / "out", tmp_path / "cache")
        fresh = build_raw(spec(source), tmp_path / f"fresh-{number}", tmp_path / "cache")
        assert everything(built.folder) == everything(fresh.folder)


def test_folders_that_are_not_sources_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out" / "mine").mkdir(parents=True)
    (tmp_path / "out" / "mine" / "notes.txt").write_text("not a source")
    built = build_raw(spec(sample(number=3)), tmp_path / "out", tmp_path / "cache")
    assert (tmp_path / "out" / "mine" / "notes.txt").exists() and "mine/notes.txt" not in built.files


def test_the_fingerprint_depends_on_the_request_and_not_on_paths(files: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    given = [local(str(files / "*.jsonl"))]
    build_raw(spec(*given, inventory={"local": "s"}), tmp_path / "one", tmp_path / "cache")
    files.rename(moved)
    build_raw(spec(local(str(moved / "*.jsonl")), inventory={"local": "s"}), tmp_path / "two", tmp_path / "cache")
    assert everything(tmp_path / "one") == everything(tmp_path / "two")
    found = read_json(tmp_path / "one" / "local" / "source.json")
    values = {name: value for name, value in encode(given[0]).items() if name != "path"}
    assert found["fingerprint"] == fingerprint(["en", values, "s", 2])
    assert canonical_json(found["holds"]) == b'{"references.json":%d}' % (
        tmp_path / "one" / "local" / "references.json").stat().st_size  # fmt: skip


def test_a_failed_rebuild_removes_the_old_manifest(tmp_path: Path) -> None:
    build_raw(spec(sample(number=3)), tmp_path / "out", tmp_path / "cache")
    with pytest.raises(DataError):
        build_raw(spec(sample(number=3), local(str(tmp_path / "none"))), tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert (tmp_path / "out" / "sample" / "source.json").exists()


def download(web: WebServer, path: str, data: bytes, name: str | None = None) -> Download:
    url = web.script(path, lambda page: page.file(data))
    return Download(url=url, sha256=hashlib.sha256(data).hexdigest(), name=name)


def http(*urls: Download, licence: str | None = None) -> HttpSource:
    return HttpSource(kind="http", name="http", urls=urls, licence=licence)


def warc(name: str = "warc", **settings: Any) -> WarcSource:
    return WarcSource(kind="warc", name=name, **settings)


def test_http_files_are_downloaded_once(web: WebServer, tmp_path: Path) -> None:
    one, two = download(web, "/a.jsonl", b'{"text": "a"}\n'), download(web, "/b.txt", b"b", name="c.txt")
    built = build_raw(spec(http(one, two)), tmp_path / "out", tmp_path / "cache")
    assert set(built.files) == {"http/files/a.jsonl", "http/files/c.txt", "http/source.json"}
    record = built.counts["sources"]["http"]
    assert record == {
        "kind": "http", "licence": None, "origin": None, "files": 2, "bytes": 15,
        "urls": [encode(one) | {"name": "a.jsonl", "bytes": 14}, encode(two) | {"bytes": 1}],
    }  # fmt: skip
    build_raw(spec(http(one, licence="mine")), tmp_path / "out", tmp_path / "cache")
    assert len(web.log) == 2
    assert set(everything(tmp_path / "out")) == {"http/files/a.jsonl", "http/source.json", "manifest.json"}


def test_warc_by_path_and_by_url(web: WebServer, tmp_path: Path) -> None:
    here = tmp_path / "crawl"
    here.mkdir()
    for name in ("a.warc.gz", "b.warc.wet.gz", "c.wet"):
        (here / name).write_bytes(name.encode())
    page = download(web, "/x.warc.wet.gz", b"x")
    remote = warc("far", urls=(replace(page, url=f"{page.url}?token=1"),))
    built = build_raw(spec(warc(path=str(here / "*")), remote), tmp_path / "out", tmp_path / "cache")
    assert [entry["name"] for entry in read_json(built.folder / "warc" / "references.json")] == [
        "a.warc.gz", "b.warc.wet.gz", "c.wet"]  # fmt: skip
    assert (built.folder / "far" / "files" / "x.warc.wet.gz").read_bytes() == b"x"
    assert built.counts["sources"]["warc"]["files"] == 3


def test_warc_files_need_the_ending_of_one(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "a.warc.bz2").touch()
    by_path = warc(path=str(tmp_path / "a.*"))
    by_url = warc(urls=(download(web, "/paths.gz", b"x"),))
    for given, name in ((by_path, "a.warc.bz2"), (by_url, "paths.gz")):
        with pytest.raises(
            DataError, match=rf"{name}: .*must end in \.warc, \.wet \(or these with \.gz, \.zst, \.zstd\)"
        ):
            build_raw(spec(given), tmp_path / "out", tmp_path / "cache")
    assert web.log == []


REASONS = {
    "exact_duplicate": {"exact_duplicate"},
    "near_duplicate": {"near_duplicate", "exact_duplicate"},
    "wrong_language": {"language"},
}


@pytest.mark.slow
def test_cleaning_finds_the_planted_truth(tmp_path: Path) -> None:
    sources = {"en": {"kind": "sample", "documents": 300}}
    params = parse({"languages": ["en"], "corpus": {"sources": sources, "validation_fraction": 0.1}}, "here")
    build_raw(build_specs.raw_spec(params, "en", Inventory()), tmp_path / "raw", tmp_path / "cache")
    build_corpus(build_specs.corpus_spec(params, "en", Inventory()), tmp_path / "raw", tmp_path / "corpus")
    corpus = read_manifest(tmp_path / "corpus", "corpus")
    kept = {line["id"] for split in ("train/", "validation/") for path in corpus.paths(split) for line in unpack(path)}
    reason = {line["id"]: line["reason"] for line in unpack(tmp_path / "corpus" / "dropped.jsonl.zst")}
    truth = {line["id"]: line["truth"] for line in unpack(tmp_path / "raw" / "sample" / "truth.jsonl.zst")}
    assert kept | reason.keys() == truth.keys() and not kept & reason.keys()
    clean_ones = {name for name, kind in truth.items() if kind == "clean"}
    assert set(truth.values()) == {"clean", "junk", *REASONS}
    assert {name: truth[name] for name in kept - clean_ones} == {}
    assert len(kept) >= 0.97 * len(clean_ones)
    for name, kind in truth.items():
        assert reason.get(name) in REASONS.get(kind, {reason.get(name)}), (name, kind)
