"""The stage as a whole: nothing lost, equal bytes, a fair split, restarts, and real text."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimpsest.artifact import write_manifest
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.corpus.reading import read_file as reading
from palimpsest.errors import DataError

TEXT = os.environ.get("PALIMPSEST_TEXT", "")


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def planted(sentences: list[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Documents of known fate: id → reason, or kept."""
    good = [". ".join([f"To be told of the {at}", *sentences[at : at + 3]]) + "." for at in range(0, 240, 3)]
    fate: dict[str, str] = {}
    documents = []

    def plant(text: str, reason: str) -> None:
        documents.append({"id": f"{len(documents):04d}", "text": text})
        fate[documents[-1]["id"]] = reason

    for text in good:
        plant(text, "kept")
    for at in range(6):
        plant(good[at].replace(" ", "  ", 9).replace("old", "OLD"), "exact_duplicate")
        plant(good[10 + at].replace("bridge", "arch", 1) + " The end.", "near_duplicate")
        plant(f"To be of use: {sentences[250 + at]}.", "gopher_quality.gopher_short_doc")
        plant(good[20 + at] + f"\nfunction() {{ return {at}; }} for that", "c4_quality.curly_bracket")
        plant("Buy the best of it now and here. " * (30 + at), "gopher_repetition.top_")
        plant("Der Hafen war still, und niemand fragte an diesem Morgen nach dem alten Boot. " * 3, "language")
    return documents, fate


def test_planted_truth_is_found(stage: Any, sentences: list[str]) -> None:
    documents, fate = planted(sentences)
    result = stage.run({"a.jsonl": stage.jsonl(documents)}, **stage.every_rule())
    found = {document["id"]: None for document in result.kept} | {e["id"]: e["reason"] for e in result.dropped}
    # Which of the repetition rules fires first is datatrove's business.
    stages = {name: (reason or "kept").removesuffix("_gram") for name, reason in found.items()}
    assert {name: reason.rstrip("0123456789") for name, reason in stages.items()} == fate
    assert all(document["score"] > 0.65 for document in result.kept)


@pytest.mark.slow
def test_equal_bytes_for_any_workers_and_batches(
    stage: Any, sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, _ = planted(sentences)
    files = {f"{part}.jsonl": stage.jsonl(documents[part::3]) for part in range(3)}
    monkeypatch.setattr(reading, "BATCH_BYTES", 4000)
    monkeypatch.setattr("palimpsest.corpus.cleaning_workers._BYTES_PER_PROCESS", 1000)
    one = stage.run(files, workers=1, out="one", **stage.every_rule())
    two = stage.run(files, workers=2, out="two", **stage.every_rule())
    monkeypatch.setattr(reading, "BATCH_BYTES", 50_000)
    other = stage.run(files, workers=1, out="other", **stage.every_rule())
    assert hashes(one.folder) == hashes(two.folder) == hashes(other.folder)


records = st.one_of(
    st.fixed_dictionaries({"text": st.text(max_size=12)}).map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"{}", b"[]", b"{bad", b'{"text": "\xff"}', b'{"text": "same"}', b'{"text": "SAME "}', b" "]),
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(records, max_size=12), min_size=1, max_size=3))
def test_nothing_is_lost_silently(stage: Any, files: list[list[bytes]]) -> None:
    always = [json.dumps({"text": f"always {number}"}).encode() for number in range(12)]
    data = {f"{at}.jsonl": b"\n".join([*always, *lines]) for at, lines in enumerate(files)}
    result = stage.run(data, exact_dedup=True, minhash={"ngram": 5, "bands": 14, "rows": 8}, validation_fraction=0.4)
    counts = result.manifest.counts
    lines = sum(not line.isspace() and line != b"" for content in data.values() for line in content.split(b"\n"))
    assert counts["documents_in"] == lines
    assert lines == len(result.train) + len(result.validation) + sum(counts["dropped"].values())
    for split, kept in (("train", result.train), ("validation", result.validation)):
        assert counts[split] == {"documents": len(kept), "bytes": sum(len(d["text"].encode()) for d in kept)}


def test_the_split_depends_on_the_text_alone(stage: Any, sentences: list[str]) -> None:
    documents = [{"text": text} for text in sentences]
    first = stage.run({"a.jsonl": stage.jsonl(documents)}, validation_fraction=0.2)
    again = stage.run({"b.jsonl": stage.jsonl(documents[::-1][:200])}, validation_fraction=0.2, out="again")
    held_out = {document["text"] for document in first.validation}
    assert {document["text"] for document in again.validation} == held_out & set(sentences[100:])
    # 300 draws at 0.2: four standard deviations are 28.
    assert 32 < len(held_out) < 88
    assert held_out < {
        d["text"] for d in stage.run({"a.jsonl": stage.jsonl(documents)}, validation_fraction=0.4).validation
    }


def test_shards_are_cut_by_bytes_of_text_and_samples_by_number(stage: Any) -> None:
    documents = [{"id": str(n), "text": f"{n} " + "é" * 30_000} for n in range(120)]
    short = [{"id": f"none {n}", "text": ""} for n in range(300)]
    result = stage.run({"a.jsonl": stage.jsonl([*documents, *short])})
    sizes = [
        sum(len(document["text"].encode()) for document in stage_lines(path))
        for path in result.manifest.paths("train/")
    ]
    assert len(sizes) >= 4
    assert all(10**6 <= size < 10**6 + 60_010 for size in sizes[:-1])
    assert sizes[-1] < 10**6 + 60_010
    assert result.manifest.counts["dropped"] == {"no_text": 300}
    assert len(result.dropped) == 200
    # A sample of all, not the first ones: 100 of 300 are left out, and of the last 100 about 67 are shown.
    assert 40 < sum(int(entry["id"].rpartition(":")[2]) > 320 for entry in result.dropped) < 90


def stage_lines(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [json.loads(line) for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines()]


@pytest.mark.parametrize(
    ("texts", "corpus", "message"),
    [
        (["one"], {"validation_fraction": 1e-9}, "raise corpus.validation_fraction"),
        (["one"], {"validation_fraction": 0.999999999}, "lower corpus.validation_fraction"),
        ([""], {}, "0 of 1 documents kept; dropped: no_text 1; loosen corpus.filters"),
        ([], {}, r"the sources hold no documents; check corpus\.sources"),
    ],
)
def test_an_empty_split_names_the_key_to_change(stage: Any, texts: list[str], corpus: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        stage.run({"a.jsonl": stage.jsonl([{"text": text} for text in texts])}, **corpus)
    assert not (stage.out / "manifest.json").exists()


def test_several_sources(stage: Any, sentences: list[str]) -> None:
    documents = stage.jsonl([{"id": str(n), "text": text} for n, text in enumerate(sentences[:100])])
    mine = stage.jsonl([{"key": n, "body": text} for n, text in enumerate(sentences[90:], 90)] + [{"body": ""}])
    for name, data in {"web/part-00000.jsonl.zst": documents, "web/truth.jsonl.zst": b'{"id": "0"}\n'}.items():
        (stage.raw / name).parent.mkdir(parents=True, exist_ok=True)
        (stage.raw / name).write_bytes(zstandard.compress(data))
    (stage.raw / "mine/files").mkdir(parents=True)
    (stage.raw / "mine/files/a.jsonl").write_bytes(mine)
    files = sorted(path for path in stage.raw.rglob("*") if path.is_file())
    write_manifest(stage.raw, stage="raw", params={}, inputs={}, files=files, counts={})
    web = {"kind": "hf", "name": "web", "dataset": str(stage.root), "text": "raw_content", "id": "url"}
    url = {"kind": "http", "name": "mine", "urls": [], "text": "body", "id": "key"}
    build_corpus(stage.spec(sources=[web, url], exact_dedup=True), stage.raw, stage.out)
    result = stage.result(stage.out)
    counts = result.manifest.counts
    assert result.texts == set(sentences)
    assert counts["dropped"] == {"exact_duplicate": 10, "no_text": 1}
    assert counts["sources"]["web"]["dropped"] == {}
    # The earlier source keeps what both have.
    assert counts["sources"]["mine"] | {"train": 0, "validation": 0} == {
        "documents_in": 211, "dropped": {"exact_duplicate": 10, "no_text": 1}, "train": 0, "validation": 0,
    }  # fmt: skip
    for split in ("train", "validation"):
        for key in ("documents", "bytes"):
            assert counts[split][key] == sum(source[split][key] for source in counts["sources"].values())
        for source, shown in counts["sources"].items():
            lines = unpack_all(result.manifest.paths(f"{split}/{source}-0"))
            assert len(lines) == shown[split]["documents"]
    assert {(e["source"], e["reason"]) for e in result.dropped} == {("mine", "exact_duplicate"), ("mine", "no_text")}
    assert {e["id"] for e in result.dropped if e["reason"] == "no_text"} == {"mine/a.jsonl:211"}
    assert str(stage.root) not in (stage.out / "manifest.json").read_text()
    assert result.manifest.params["sources"] == [{k: v for k, v in web.items() if k != "dataset"}, url]
    assert result.manifest.inputs.keys() == {"raw"}


def unpack_all(paths: list[Path]) -> list[dict[str, Any]]:
    return [line for path in paths for line in stage_lines(path)]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_max_bytes_stops_after_the_last_whole_record(stage: Any, sentences: list[str], suffix: str) -> None:
    """Line feeds count in JSON Lines; in Parquet the text alone does."""
    import gzip

    from palimpsest.corpus.reading import read_file as reading

    lines = [stage.jsonl([{"text": text}]) for text in sentences]
    pack = {"jsonl": b"".join, "jsonl.gz": lambda data: gzip.compress(b"".join(data)), "parquet": parquet}[suffix]
    files = {f"{at}.{suffix}": pack(lines[at * 100 : at * 100 + 100]) for at in range(3)}
    stage.place(local=files)
    sizes = [len(line) if suffix != "parquet" else len(text) for line, text in zip(lines, sentences, strict=True)]
    for batch_bytes in (1000, 1 << 22):
        for documents, spare in ((130, 0), (130, sizes[130] - 1), (100, 0), (7, 1), (300, 9)):
            limit = sum(sizes[:documents]) + spare
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(reading, "BATCH_BYTES", batch_bytes)
                build_corpus(stage.spec(sources=[stage.local(max_bytes=limit)]), stage.raw, stage.out)
            assert stage.result(stage.out).texts == set(sentences[:documents])


def parquet(lines: list[bytes]) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [json.loads(line)["text"] for line in lines]}), sink, row_group_size=30)
    return sink.getvalue()


def test_paths_are_expanded(stage: Any, sentences: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stage.place(local={"sub/a.jsonl": stage.jsonl([{"text": text} for text in sentences])})
    monkeypatch.setenv("SOURCE_FOLDER", str(stage.source / "local"))
    build_corpus(stage.spec(sources=[stage.local(path="${SOURCE_FOLDER}/s*/*.jsonl")]), stage.raw, stage.out)
    assert stage.result(stage.out).texts == set(sentences)


@pytest.mark.slow
@pytest.mark.skipif(not TEXT, reason="PALIMPSEST_TEXT is not set")
@pytest.mark.parametrize("language", ["en", "fr", "de", "ar", "ja"])
def test_most_real_text_is_kept(stage: Any, language: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A sixth of each file, every rule on. English e-mails and reviews of one line fall to published rules."""
    path = Path(TEXT) / "train" / f"train.{language}.jsonl.zst"
    lines = [line for at, line in enumerate(reading.read_lines(path)) if at % 6 == 0]
    result = stage.run({"a.jsonl": b"".join(lines)}, language=language, **stage.every_rule(language))
    counts = result.manifest.counts
    share = len(result.kept) / counts["documents_in"]
    with capsys.disabled():
        sys.stdout.write(f"\n{language}: {share:.0%} kept of {counts['documents_in']}; {counts['dropped']}\n")
    assert share > {"en": 0.65, "de": 0.82}.get(language, 0.9)
    assert counts["dropped"].get("language", 0) < 0.02 * counts["documents_in"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_contaminated_documents_are_dropped(
    stage: Any, sentences: list[str], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Before personal data is masked, and before duplicates are sought."""
    monkeypatch.setattr("palimpsest.corpus.cleaning_workers._BYTES_PER_PROCESS", 1000)
    (stage.root / "eval").mkdir()
    question = {"q": {"text": f"{sentences[0]} ask joe@example.com"}, "choices": [sentences[1], "short"]}
    (stage.root / "eval" / "a.jsonl").write_bytes(stage.jsonl([question]))
    monkeypatch.setenv("EVALUATION", str(stage.root / "eval"))
    words = sentences[0].split()
    texts = {
        "whole": sentences[1],
        "run": "Before it. " + " ".join(words[5:18]).upper() + ", after it.",
        "too short": "Before it. " + " ".join(words[5:17]) + " after it.",
        "personal": " ".join(words[-10:]) + " ask joe@example.com",
        "twice": sentences[1],
        **{f"clean {at}": text for at, text in enumerate(sentences[2:40])},
    }
    lines = stage.jsonl([{"id": name, "text": text} for name, text in texts.items()])
    settings = {"paths": ["${EVALUATION}/**/*.jsonl"], "words": 13, "characters": 30}
    result = stage.run(
        {"a.jsonl": lines}, decontamination=settings, exact_dedup=True, mask_pii=["email"], workers=workers
    )
    assert {(entry["id"], entry["reason"]) for entry in result.dropped} == {
        (name, "contamination") for name in ("whole", "run", "personal", "twice")
    }
    assert result.manifest.params["corpus"]["decontamination"] == {"words": 13, "characters": 30}
    assert not list(result.folder.rglob("*.npy"))


def test_evaluation_sets_that_are_not_there(stage: Any) -> None:
    settings = {"paths": [str(stage.root / "none" / "*.jsonl")], "words": 13, "characters": 30}
    with pytest.raises(DataError, match=r"corpus\.decontamination\.paths: .* match no file"):
        stage.run({"a.jsonl": stage.jsonl([{"text": "a"}])}, decontamination=settings)
