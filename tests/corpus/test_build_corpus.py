"""The stage as a whole: nothing lost, equal bytes, a fair split, restarts, and real text."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.corpus_stage import (
    SENTENCES,
    CorpusStage,
    every_rule,
    file_hashes,
    jsonl,
    parquet,
    read_jsonl_zst,
)

from palimpsest.artifact import write_manifest
from palimpsest.codec import fingerprint_fields
from palimpsest.corpus.reading import read_file as reading
from palimpsest.errors import DataError
from palimpsest.settings.cleaning import Decontamination, Minhash
from palimpsest.settings.sources import HfSource, HttpSource

TEXT = os.environ.get("PALIMPSEST_TEXT", "")


def planted() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Documents of known fate: id → reason, or kept."""
    good = [". ".join([f"To be told of the {at}", *SENTENCES[at : at + 3]]) + "." for at in range(0, 240, 3)]
    fate: dict[str, str] = {}
    documents: list[dict[str, Any]] = []

    def plant(text: str, reason: str) -> None:
        documents.append({"id": f"{len(documents):04d}", "text": text})
        fate[documents[-1]["id"]] = reason

    for text in good:
        plant(text, "kept")
    for at in range(6):
        plant(good[at].replace(" ", "  ", 9).replace("old", "OLD"), "exact_duplicate")
        plant(good[10 + at].replace("bridge", "arch", 1) + " The end.", "near_duplicate")
        plant(f"To be of use: {SENTENCES[250 + at]}.", "gopher_quality.gopher_short_doc")
        plant(good[20 + at] + f"\nfunction() {{ return {at}; }} for that", "c4_quality.curly_bracket")
        plant("Buy the best of it now and here. " * (30 + at), "gopher_repetition.top_")
        plant("Der Hafen war still, und niemand fragte an diesem Morgen nach dem alten Boot. " * 3, "language")
    return documents, fate


@pytest.mark.slow
def test_planted_truth_is_found(stage: CorpusStage) -> None:
    documents, fate = planted()
    result = stage.run({"a.jsonl": jsonl(documents)}, **every_rule())
    found = {document["id"]: None for document in result.kept} | {e["id"]: e["reason"] for e in result.dropped}
    # Which of the repetition rules fires first is datatrove's business.
    stages = {name: (reason or "kept").removesuffix("_gram") for name, reason in found.items()}
    assert {name: reason.rstrip("0123456789") for name, reason in stages.items()} == fate
    assert all(document["score"] > 0.65 for document in result.kept)


@pytest.mark.slow
def test_equal_bytes_for_any_workers_and_batches(stage: CorpusStage, monkeypatch: pytest.MonkeyPatch) -> None:
    documents, _ = planted()
    files = {f"{part}.jsonl": jsonl(documents[part::3]) for part in range(3)}
    monkeypatch.setattr(reading, "BATCH_BYTES", 4000)
    monkeypatch.setattr("palimpsest.corpus.cleaning_workers._BYTES_PER_PROCESS", 1000)
    one = stage.run(files, workers=1, out="one", **every_rule())
    two = stage.run(files, workers=2, out="two", **every_rule())
    monkeypatch.setattr(reading, "BATCH_BYTES", 50_000)
    other = stage.run(files, workers=1, out="other", **every_rule())
    assert file_hashes(one.folder) == file_hashes(two.folder) == file_hashes(other.folder)


records = st.one_of(
    st.fixed_dictionaries({"text": st.text(max_size=12)}).map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"{}", b"[]", b"{bad", b'{"text": "\xff"}', b'{"text": "same"}', b'{"text": "SAME "}', b" "]),
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(records, max_size=12), min_size=1, max_size=3))
def test_nothing_is_lost_silently(stage: CorpusStage, files: list[list[bytes]]) -> None:
    always = [json.dumps({"text": f"always {number}"}).encode() for number in range(12)]
    data = {f"{at}.jsonl": b"\n".join([*always, *lines]) for at, lines in enumerate(files)}
    result = stage.run(data, exact_dedup=True, minhash=Minhash(), validation_fraction=0.4)
    counts = result.manifest.counts
    lines = sum(not line.isspace() and line != b"" for content in data.values() for line in content.split(b"\n"))
    assert counts["documents_in"] == lines
    assert lines == len(result.train) + len(result.validation) + sum(counts["dropped"].values())
    for split, kept in (("train", result.train), ("validation", result.validation)):
        assert counts[split] == {"documents": len(kept), "bytes": sum(len(d["text"].encode()) for d in kept)}


def test_the_split_depends_on_the_text_alone(stage: CorpusStage) -> None:
    documents = [{"text": text} for text in SENTENCES]
    first = stage.run({"a.jsonl": jsonl(documents)}, validation_fraction=0.2)
    again = stage.run({"b.jsonl": jsonl(documents[::-1][:200])}, validation_fraction=0.2, out="again")
    held_out = {document["text"] for document in first.validation}
    assert {document["text"] for document in again.validation} == held_out & set(SENTENCES[100:])
    # 300 draws at 0.2: four standard deviations are 28.
    assert 32 < len(held_out) < 88
    assert held_out < {d["text"] for d in stage.run({"a.jsonl": jsonl(documents)}, validation_fraction=0.4).validation}


def test_shards_are_cut_by_bytes_of_text_and_samples_by_number(stage: CorpusStage) -> None:
    documents = [{"id": str(n), "text": f"{n} " + "é" * 30_000} for n in range(120)]
    short = [{"id": f"none {n}", "text": ""} for n in range(300)]
    result = stage.run({"a.jsonl": jsonl([*documents, *short])})
    sizes = [
        sum(len(document["text"].encode()) for document in read_jsonl_zst(path))
        for path in result.manifest.paths("train/")
    ]
    assert len(sizes) >= 4
    assert all(10**6 <= size < 10**6 + 60_010 for size in sizes[:-1])
    assert sizes[-1] < 10**6 + 60_010
    assert result.manifest.counts["dropped"] == {"no_text": 300}
    assert len(result.dropped) == 200
    # A sample of all, not the first ones: 100 of 300 are left out, and of the last 100 about 67 are shown.
    assert 40 < sum(int(entry["id"].rpartition(":")[2]) > 320 for entry in result.dropped) < 90


@pytest.mark.parametrize(
    ("texts", "corpus", "message"),
    [
        (["one"], {"validation_fraction": 1e-9}, "raise corpus.validation_fraction"),
        (["one"], {"validation_fraction": 0.999999999}, "lower corpus.validation_fraction"),
        ([""], {}, "0 of 1 documents kept; dropped: no_text 1; loosen corpus.filters"),
        ([], {}, r"the sources hold no documents; check corpus\.sources"),
    ],
)
def test_an_empty_split_names_the_key_to_change(
    stage: CorpusStage, texts: list[str], corpus: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        stage.run({"a.jsonl": jsonl([{"text": text} for text in texts])}, **corpus)
    assert not (stage.out / "manifest.json").exists()


def test_several_sources(stage: CorpusStage) -> None:
    documents = jsonl([{"id": str(n), "text": text} for n, text in enumerate(SENTENCES[:100])])
    mine = jsonl([{"key": n, "body": text} for n, text in enumerate(SENTENCES[90:], 90)] + [{"body": ""}])
    for name, data in {"web/part-00000.jsonl.zst": documents, "web/truth.jsonl.zst": b'{"id": "0"}\n'}.items():
        (stage.raw / name).parent.mkdir(parents=True, exist_ok=True)
        (stage.raw / name).write_bytes(zstandard.compress(data))
    (stage.raw / "mine/files").mkdir(parents=True)
    (stage.raw / "mine/files/a.jsonl").write_bytes(mine)
    files = sorted(path for path in stage.raw.rglob("*") if path.is_file())
    write_manifest(stage.raw, stage="raw", params={}, inputs={}, files=files, counts={})
    web = HfSource(kind="hf", name="web", folder=str(stage.root), text="raw_content", id="url")
    mine_by_url = HttpSource(kind="http", name="mine", urls=(), text="body", id="key")
    result = stage.build(stage.spec(sources=[web, mine_by_url], exact_dedup=True))
    counts = result.manifest.counts
    assert result.texts == set(SENTENCES)
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
            lines = [line for path in result.manifest.paths(f"{split}/{source}-0") for line in read_jsonl_zst(path)]
            assert len(lines) == shown[split]["documents"]
    assert {(e["source"], e["reason"]) for e in result.dropped} == {("mine", "exact_duplicate"), ("mine", "no_text")}
    assert {e["id"] for e in result.dropped if e["reason"] == "no_text"} == {"mine/a.jsonl:211"}
    assert str(stage.root) not in (stage.out / "manifest.json").read_text()
    assert result.manifest.params["sources"] == [fingerprint_fields(web), fingerprint_fields(mine_by_url)]
    assert result.manifest.inputs.keys() == {"raw"}


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_max_bytes_stops_after_the_last_whole_record(stage: CorpusStage, suffix: str) -> None:
    """Line feeds count in JSON Lines; in Parquet the text alone does."""
    lines = [jsonl([{"text": text}]) for text in SENTENCES]
    files = {}
    for part in range(3):
        own = slice(part * 100, part * 100 + 100)
        plain = b"".join(lines[own])
        packed = {"jsonl": plain, "jsonl.gz": gzip.compress(plain), "parquet": parquet({"text": SENTENCES[own]})}
        files[f"{part}.{suffix}"] = packed[suffix]
    stage.place(local=files)
    sizes = [len(line) if suffix != "parquet" else len(text) for line, text in zip(lines, SENTENCES, strict=True)]
    for batch_bytes in (1000, 1 << 22):
        for documents, spare in ((130, 0), (130, sizes[130] - 1), (100, 0), (7, 1), (300, 9)):
            limit = sum(sizes[:documents]) + spare
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(reading, "BATCH_BYTES", batch_bytes)
                result = stage.build(stage.spec(sources=[stage.local(max_bytes=limit)]))
            assert result.texts == set(SENTENCES[:documents])


def test_paths_are_expanded(stage: CorpusStage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.place(local={"sub/a.jsonl": jsonl([{"text": text} for text in SENTENCES])})
    monkeypatch.setenv("SOURCE_FOLDER", str(stage.source / "local"))
    result = stage.build(stage.spec(sources=[stage.local(path="${SOURCE_FOLDER}/s*/*.jsonl")]))
    assert result.texts == set(SENTENCES)


@pytest.mark.slow
@pytest.mark.skipif(not TEXT, reason="PALIMPSEST_TEXT is not set")
@pytest.mark.parametrize("language", ["en", "fr", "de", "ar", "ja"])
def test_most_real_text_is_kept(stage: CorpusStage, language: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A sixth of each file, every rule on. English e-mails and reviews of one line fall to published rules."""
    path = Path(TEXT) / "train" / f"train.{language}.jsonl.zst"
    lines = [line for at, line in enumerate(reading.read_lines(path)) if at % 6 == 0]
    result = stage.run({"a.jsonl": b"".join(lines)}, language=language, **every_rule(language))
    counts = result.manifest.counts
    share = len(result.kept) / counts["documents_in"]
    with capsys.disabled():
        sys.stdout.write(f"\n{language}: {share:.0%} kept of {counts['documents_in']}; {counts['dropped']}\n")
    assert share > {"en": 0.65, "de": 0.82}.get(language, 0.9)
    assert counts["dropped"].get("language", 0) < 0.02 * counts["documents_in"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_contaminated_documents_are_dropped(stage: CorpusStage, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Before personal data is masked, and before duplicates are sought."""
    monkeypatch.setattr("palimpsest.corpus.cleaning_workers._BYTES_PER_PROCESS", 1000)
    (stage.root / "eval").mkdir()
    question = {"q": {"text": f"{SENTENCES[0]} ask joe@example.com"}, "choices": [SENTENCES[1], "short"]}
    (stage.root / "eval" / "a.jsonl").write_bytes(jsonl([question]))
    monkeypatch.setenv("EVALUATION", str(stage.root / "eval"))
    words = SENTENCES[0].split()
    texts = {
        "whole": SENTENCES[1],
        "run": "Before it. " + " ".join(words[5:18]).upper() + ", after it.",
        "too short": "Before it. " + " ".join(words[5:17]) + " after it.",
        "personal": " ".join(words[-10:]) + " ask joe@example.com",
        "twice": SENTENCES[1],
        **{f"clean {at}": text for at, text in enumerate(SENTENCES[2:40])},
    }
    lines = jsonl([{"id": name, "text": text} for name, text in texts.items()])
    rules = Decontamination(paths=("${EVALUATION}/**/*.jsonl",), words=13, characters=30)
    result = stage.run(
        {"a.jsonl": lines}, decontamination=rules, exact_dedup=True, mask_pii=("email",), workers=workers
    )
    assert {(entry["id"], entry["reason"]) for entry in result.dropped} == {
        (name, "contamination") for name in ("whole", "run", "personal", "twice")
    }
    assert result.manifest.params["cleaning"]["decontamination"] == {"words": 13, "characters": 30}
    assert not list(result.folder.rglob("*.npy"))


def test_missing_evaluation_sets_name_the_key(stage: CorpusStage) -> None:
    rules = Decontamination(paths=(str(stage.root / "none" / "*.jsonl"),))
    with pytest.raises(DataError, match=r"corpus\.decontamination\.paths: .* match no file"):
        stage.run({"a.jsonl": jsonl([{"text": "a"}])}, decontamination=rules)
