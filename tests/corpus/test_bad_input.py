"""Bad input, case by case: a bad record has a reason with its file and line, a bad file is named with its offset."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from support.corpus_stage import CorpusStage, compressed, jsonl, parquet, read_corpus

from palimpsest import codec
from palimpsest.corpus.cleaning.mojibake import find_defect
from palimpsest.corpus.reading import read_file as reading
from palimpsest.errors import DataError
from palimpsest.specs.data import CorpusSpec

FRENCH = "Été comme hiver, le garçon élevé près de la forêt rêvait déjà d'être à Noël « chez lui »."
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
GOOD = [{"id": f"g{number}", "text": f"Good text number {number}."} for number in range(30)]


def fate(stage: CorpusStage, line: bytes, name: str = "a.jsonl", **settings: Any) -> dict[str, str]:
    """Id and reason of one line (the second) among good ones if it was dropped, {} if it was kept."""
    good = jsonl(GOOD)
    at = good.index(b"\n") + 1
    result = stage.run({name: good[:at] + line + b"\n" + good[at:]}, **settings)
    assert result.manifest.counts["documents_in"] == 31
    assert len(result.kept) + len(result.dropped) == 31
    return {entry["id"]: entry["reason"] for entry in result.dropped}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (FRENCH.encode().decode("cp1252", "replace").replace("\ufffd", "\x81"), "mojibake"),
        (JAPANESE.encode().decode("latin-1"), "mojibake"),
        ("これはテストです。そこにありました。".encode().decode("shift_jis", "ignore"), "mojibake"),
        ("Th\ufffd qu\ufffdck br\ufffdwn fox", "bad_characters"),
        ("a\0b\0c\0d\0", "bad_characters"),
        ("<!DOCTYPE html><html><body><p>Some words</p></body></html>", "html"),
        ("<div class='a'><p>Some words</p><p>and <b>more</b></p></div>" * 9, "html"),
    ],
)
def test_wrongly_decoded_text_and_markup_have_reasons(stage: CorpusStage, text: str, reason: str) -> None:
    assert fate(stage, json.dumps({"id": "x", "text": text}).encode()) == {"local/a.jsonl:2": reason}


@pytest.mark.parametrize(
    "text",
    [
        FRENCH,
        JAPANESE,
        "« É », dit-il : « À\u00a0! » Ê… Â« Â» et voilà l'été à Orléans",
        "One lost \ufffd letter in " + "a long text " * 30,
        "In HTML, <p> begins a paragraph and </p> ends it; if a<b and c>d, nothing is marked up at all here.",
        "Straße – “quoted” … it’s fine • ‘yes’",
        "Ångström, naïve, Ão, São Paulo, Âge",
        "縺れる糸を解くように、彼は話した。",
        "",
    ],
)
def test_good_text_has_no_defect(text: str) -> None:
    assert find_defect(text) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "lone \\ud800 surrogate"}', "bad_json"),
        (JAPANESE.encode("shift_jis"), "bad_utf8"),
        (b'{"text": "' + JAPANESE.encode("shift_jis") + b'"}', "bad_utf8"),
        (b'{"text": "' + JAPANESE.encode("euc-jp") + b'"}', "bad_utf8"),
        (b'{"text": "surrogate as bytes \xed\xa0\x80"}', "bad_utf8"),
        (b'{"text": "raw NUL \x00 inside"}', "bad_json"),
        (b'{"text": 12.5}', "no_text"),
        (b'{"text": ["a"]}', "no_text"),
        (b'{"text": true}', "no_text"),
        (b'{"text": {"a": "b"}}', "no_text"),
        (b"[" * 100_000, "bad_json"),
        (b'{"text": "a"} {"text": "b"}', "bad_json"),
        (b"null", "bad_json"),
    ],
)
def test_bad_lines(stage: CorpusStage, line: bytes, reason: str) -> None:
    assert fate(stage, line) == {"local/a.jsonl:2": reason}


def test_line_separators_inside_a_string_end_no_record(stage: CorpusStage) -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive\x1cfive"
    line = json.dumps({"id": "x", "text": text}, ensure_ascii=False).encode()
    assert fate(stage, line.replace(b"\x0b", b"\\u000b").replace(b"\x1c", b"\\u001c")) == {}
    assert any(t == "one\ntwo\nthree\nfour\nfivefive" for t in read_corpus(stage.out).texts)


def test_duplicated_ids_and_keys_are_kept(stage: CorpusStage) -> None:
    """An id is a label, and nothing is looked up by it. Of a key that comes twice the last one counts."""
    lines = b'{"id": "s", "text": "one"}\n{"id": "s", "text": "two"}\n{"id": "k", "text": "first", "text": "second"}\n'
    result = stage.run({"a.jsonl": lines + jsonl(GOOD)})
    assert {"one", "two", "second"} < result.texts
    assert [document["id"] for document in result.kept].count("s") == 2


def test_a_line_of_4_mb_is_kept_and_one_over_the_limit_is_dropped(
    stage: CorpusStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "word " * 800_000
    assert fate(stage, json.dumps({"id": "x", "text": long}).encode()) == {}
    for module in ("reading.read_file", "cleaning.cleaner", "reading.parquet_reader", "reading.records"):
        monkeypatch.setattr(f"palimpsest.corpus.{module}.MAX_RECORD_BYTES", 1000)
    reasons = []
    # The limit is exact, wherever the pieces of the file are cut.
    for batch_bytes in (64, 999, 1 << 22):
        monkeypatch.setattr(reading, "BATCH_BYTES", batch_bytes)
        for spare in (0, 1, 5000):
            line = json.dumps({"text": "x" * (1000 - 12 + spare)}).encode()
            assert len(line) == 1000 + spare
            for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
                reasons.append(bool(fate_packed(stage, line, name)))
    assert reasons == [False] * 3 + [True] * 6 + [False] * 3 + [True] * 6 + [False] * 3 + [True] * 6
    with_long = stage.run({"a.txt": b"y" * 1001, "b.txt": b"y" * 1000, "c.jsonl": jsonl(GOOD)})
    assert {e["id"]: e["reason"] for e in with_long.dropped} == {"local/a.txt:1": "too_long"}
    table = parquet({"text": ["z" * 1001, "z" * 1000, *(good["text"] for good in GOOD)]})
    tables = stage.run({"t.parquet": table}, out="tables")
    assert {e["id"]: e["reason"] for e in tables.dropped} == {"local/t.parquet:1": "too_long"}


def fate_packed(stage: CorpusStage, line: bytes, name: str) -> dict[str, str]:
    good = jsonl(GOOD)
    data = good[:60] + good[60 : good.index(b"\n", 60) + 1] + line + b"\n" + good
    result = stage.run({name: compressed(name, data)}, out=name)
    found = {e["id"]: e["reason"] for e in result.dropped}
    number = 1 + good[: good.index(b"\n", 60) + 1].count(b"\n")
    assert found in ({}, {f"local/{name}:{number}": "too_long"})
    (stage.source / "local" / name).unlink()
    return found


def zipped(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../escape.jsonl", data)
    return sink.getvalue()


def as_parquet(data: bytes) -> bytes:
    return parquet({"text": pa.array(data.decode().splitlines(), pa.string())})


BAD_FILES = [
    ("a.jsonl", zstandard.compress, r"holds zstd data at byte 0"),
    ("a.jsonl", gzip.compress, r"holds gzip data at byte 0"),
    ("a.jsonl.zst", gzip.compress, r"holds gzip data at byte 0"),
    ("a.jsonl.gz", zstandard.compress, r"holds zstd data at byte 0"),
    ("a.jsonl", as_parquet, r"holds Parquet data at byte 0"),
    ("a.jsonl.gz", bytes, r"holds no gzip data at byte 0"),
    ("a.parquet", bytes, r"not a complete Parquet file"),
    ("a.parquet", gzip.compress, r"holds gzip data at byte 0"),
    ("a.jsonl", zipped, r"holds ZIP data at byte 0"),
    ("a.jsonl.gz", lambda data: gzip.compress(gzip.compress(data)), r"holds gzip data inside"),
    ("a.jsonl.zst", lambda data: zstandard.compress(lzma.compress(data)), r"holds xz data inside"),
    ("a.jsonl", lambda data: data.decode().encode("utf-16"), r"is UTF-16 text \(byte order mark at byte 0\)"),
    ("a.jsonl.gz", lambda data: gzip.compress(data.decode().encode("utf-16")), r"is UTF-16 text"),
    ("a.txt", lambda data: data.decode().encode("utf-32"), r"is UTF-32 text"),
    ("a.jsonl", lambda data: data.decode().encode("utf-16-le"), r"looks like UTF-16 .*NUL at byte 1\)"),
    ("a.jsonl", lambda data: data.decode().encode("utf-16-be"), r"looks like UTF-16 .*NUL at byte 0\)"),
    ("a.jsonl", lambda _: b"\0" * 5000, r"is not text \(4096 of its first 4096 bytes are NUL, from byte 0\)"),
    ("a.jsonl.zst", lambda _: b"", r"cut short at byte 0"),
    ("a.parquet", lambda _: b"", r"not a complete Parquet file"),
    ("a.jsonl.zst", lambda data: zstandard.compress(data)[:-9], r"cut short at byte \d\d+"),
    ("a.jsonl.gz", lambda data: gzip.compress(data)[:-9], r"cut short at byte \d\d+"),
    ("a.exe", bytes, r"unknown file type"),
    ("a.jsonl.zip", bytes, r"unknown file type"),
]


@pytest.mark.parametrize(("name", "corrupt", "message"), BAD_FILES)
def test_bad_files_are_errors_or_listed(
    stage: CorpusStage, name: str, corrupt: Callable[[bytes], bytes], message: str
) -> None:
    good = jsonl(GOOD)
    with pytest.raises(DataError, match=message) as caught:
        stage.run({name: corrupt(good), "b.jsonl": good})
    assert str(stage.source / "local" / name) in str(caught.value)
    assert str(caught.value).count(name) == 1
    result = stage.run({name: corrupt(good), "b.jsonl": good}, on_bad_file="skip")
    (bad,) = result.manifest.counts["bad_files"]
    assert (bad["source"], bad["name"]) == ("local", name)
    assert str(stage.root) not in json.dumps(result.manifest.counts)
    assert {document["text"] for document in GOOD} <= result.texts


def test_skip_keeps_what_was_read_before_the_corrupt_part(stage: CorpusStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 1000)
    rng = random.Random(5)
    many = [{"id": f"d{number}", "text": f"{number} {rng.random()}"} for number in range(3000)]
    lines = jsonl(many)
    cut = lines.index(b"\n", len(lines) * 2 // 3) + 1
    whole = lines[:cut].count(b"\n")
    for pack in (zstandard.compress, gzip.compress):
        # One and a half frames: the whole first one can be read, and some of the second.
        data = pack(lines[:cut]) + pack(lines[cut:])[:-100]
        name = f"a.jsonl.{'zst' if pack is zstandard.compress else 'gz'}"
        with pytest.raises(DataError, match=rf"{name}: cut short at byte {len(data)}"):
            stage.run({name: data, "b.jsonl": jsonl(GOOD)})
        result = stage.run({name: data, "b.jsonl": jsonl(GOOD)}, on_bad_file="skip")
        kept = {document["id"] for document in result.kept}
        assert {f"d{number}" for number in range(whole)} | {good["id"] for good in GOOD} <= kept
        # A line that was cut is no record.
        assert result.manifest.counts["dropped"] == {}
        assert f"cut short at byte {len(data)}" in result.manifest.counts["bad_files"][0]["problem"]
        (stage.source / "local" / name).unlink()


def test_empty_files_hold_no_documents(stage: CorpusStage) -> None:
    empty = {"a.jsonl": b"", "b.jsonl.gz": gzip.compress(b""), "c.jsonl.zst": zstandard.compress(b""), "d.txt": b""}
    result = stage.run(empty | {"e.parquet": as_parquet(b""), "f.warc": b"", "good.jsonl": jsonl(GOOD)})
    assert result.manifest.counts["documents_in"] == 31
    assert {e["id"]: e["reason"] for e in result.dropped} == {"local/d.txt:1": "no_text"}


# In MiB. VmHWM begins with the program; ru_maxrss would begin with what the process of the tests held at the fork.
BOMB = """
import json, sys
from pathlib import Path
from palimpsest import codec
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.errors import DataError
from palimpsest.specs.data import CorpusSpec
if __name__ == "__main__":
    try:
        build_corpus(codec.decode(CorpusSpec, json.loads(sys.argv[1]), "spec"), Path(sys.argv[2]), Path(sys.argv[3]))
    except DataError as error:
        print(error)
    print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024)
"""


def bomb(kind: str) -> bytes:
    """1 GB of one letter."""
    block = b"a" * (1 << 20)
    packer = zstandard.ZstdCompressor(level=1).compressobj() if kind == "zst" else zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(block) for _ in range(1000)), packer.flush()])


def repeated(rows: int) -> bytes:
    """Rows of one string of 10 MB; 200,000 of them are 2 TB."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows), pa.array(["b" * 10_000_000]))
    return parquet({"text": text}, compression="zstd")


@pytest.mark.slow
def test_memory_is_bounded_against_bombs(stage: CorpusStage) -> None:
    good = {"b.jsonl": jsonl(GOOD)}
    stage.place(local=good)
    base = run_for_peak(stage)[1]
    for name in ("a.jsonl.zst", "a.txt.zst", "a.jsonl.gz", "a.warc.gz"):
        data = bomb(name.rpartition(".")[2])
        assert len(data) < 3_000_000
        stage.place(local={name: data, **good})
        out, peak = run_for_peak(stage)
        assert peak < base + 200, f"{name}: {peak} MiB after {base} MiB"
        if "warc" in name:
            assert "no WARC record at byte 0" in out
        else:
            (entry,) = read_corpus(stage.out).dropped
            assert (entry["id"], entry["reason"]) == (f"local/{name}:1", "too_long")
        (stage.source / "local" / name).unlink()


@pytest.mark.slow
def test_memory_is_bounded_against_a_repeated_string(stage: CorpusStage) -> None:
    data = repeated(200_000)
    assert len(data) < 3_000_000
    spec = stage.spec(sources=[stage.local(max_bytes=95_000_000)], exact_dedup=True)
    stage.place(local={"a.parquet": repeated(10)})
    base = run_for_peak(stage, spec)[1]
    stage.place(local={"a.parquet": data})
    peak = run_for_peak(stage, spec)[1]
    assert peak < base + 300, f"{peak} MiB after {base} MiB"


def run_for_peak(stage: CorpusStage, spec: CorpusSpec | None = None) -> tuple[str, int]:
    """The output of the stage, and its peak memory in MiB."""
    arguments = [json.dumps(codec.encode(spec or stage.spec())), str(stage.raw), str(stage.out)]
    done = subprocess.run([sys.executable, "-c", BOMB, *arguments], capture_output=True, text=True, check=True)
    *out, peak = done.stdout.splitlines()
    return "\n".join(out), int(peak)
