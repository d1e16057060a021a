"""Runs that were killed, and runs beside each other: the same bytes as a straight run by itself."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support.corpus_stage import SENTENCES, CorpusStage, file_hashes, jsonl

from palimpsest import codec
from palimpsest.corpus import segments
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.corpus.cleaning import cleaner
from palimpsest.corpus.deduplicate_and_split import SPLITS
from palimpsest.corpus.reading import batch_stream, read_file
from palimpsest.errors import DataError
from palimpsest.settings.cleaning import Minhash
from palimpsest.specs.data import CorpusSpec


def source_files(many: int) -> dict[str, dict[str, bytes]]:
    """Two sources of two files each, with duplicates between them, bad records, and a file that is cut short."""
    rng = random.Random(3)

    def documents(first: int) -> bytes:
        texts = [" ".join(rng.sample(SENTENCES, 2)) + f" {first + number}" for number in range(many)]
        texts += rng.sample(SENTENCES, 60)
        return jsonl([{"id": f"{first}-{at}", "text": text} for at, text in enumerate(texts)]) + b"{bad\n\xff\n"

    cut = zstandard.compress(documents(3000)) + zstandard.compress(documents(4000))[:-900]
    return {
        "one": {"a.jsonl": documents(0), "b.jsonl.zst": zstandard.compress(documents(1000))},
        "two": {"a.jsonl": documents(2000), "c.jsonl.zst": cut, "d.jsonl": documents(5000)},
    }


def spec(stage: CorpusStage, language: str = "en", **settings: Any) -> CorpusSpec:
    sources = [stage.local("one", max_bytes=150_000), stage.local("two")]
    chosen: dict[str, Any] = {
        "exact_dedup": True,
        "minhash": Minhash(),
        "on_bad_file": "skip",
        "mask_pii": ("email",),
    } | settings
    return stage.spec(language, sources, **chosen)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_file, "BATCH_BYTES", 4000)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 20_000)


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_a_broken_run_resumes_after_its_last_segment(stage: CorpusStage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.place(**source_files(200))
    build_corpus(spec(stage), stage.raw, stage.root / "straight")
    cleaned: list[tuple[str, str, int]] = []
    opened: list[str] = []
    allowed = 10**9
    plain_clean, plain_read = cleaner.Cleaner.clean, read_file.read_file

    def counted(self: Any, batch: Any, source: str) -> Any:
        if len(cleaned) == allowed:
            raise KeyboardInterrupt
        cleaned.append((source, batch.name, batch.first))
        return plain_clean(self, batch, source)

    def opening(path: Path, name: str, *columns: str) -> Any:
        opened.append(f"{path.parent.name}/{name}")
        return plain_read(path, name, *columns)

    monkeypatch.setattr(cleaner.Cleaner, "clean", counted)
    monkeypatch.setattr(batch_stream, "read_file", opening)
    build_corpus(spec(stage), stage.raw, stage.root / "counted")
    everything, all_files = list(cleaned), list(opened)
    assert len(everything) > 60
    assert all_files == ["one/a.jsonl", "one/b.jsonl.zst", "two/a.jsonl", "two/c.jsonl.zst", "two/d.jsonl"]
    out, reached = stage.root / "broken", 0
    for allowed in (0, 4, 13, 30, 21, 10**9):
        cleaned.clear()
        opened.clear()
        if allowed < 10**9:
            with pytest.raises(KeyboardInterrupt):
                build_corpus(spec(stage), stage.raw, out)
        else:
            build_corpus(spec(stage), stage.raw, out)
        if cleaned:
            start = everything.index(cleaned[0])
            assert cleaned == everything[start : start + len(cleaned)]
            # A unit of 20,000 bytes has five batches of 4,000, and the one that fills it.
            assert reached - 6 <= start <= reached
            assert opened == all_files[all_files.index("/".join(cleaned[0][:2])) :][: len(opened)]
            reached = start + len(cleaned)
    assert reached == len(everything)
    assert "one/a.jsonl" not in opened
    assert file_hashes(out) == file_hashes(stage.root / "straight")


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_work_of_another_spec_or_source_is_discarded(stage: CorpusStage) -> None:
    given = source_files(100)
    stage.place(**given)
    with pytest.raises(DataError, match=r"c\.jsonl\.zst: cut short"):
        build_corpus(spec(stage, on_bad_file="error"), stage.raw, stage.out)
    first = {path: path.stat().st_mtime_ns for path in stage.out.rglob("segment.json")}
    assert len(first) > 3
    # The same rules: what was cleaned before the error stays.
    build_corpus(spec(stage), stage.raw, stage.root / "straight")
    with pytest.raises(DataError, match=r"lower corpus\.validation_fraction"):
        build_corpus(spec(stage, validation_fraction=1 - 1e-12), stage.raw, stage.out)
    assert first.items() <= {path: path.stat().st_mtime_ns for path in stage.out.rglob("segment.json")}.items()
    # Other rules.
    with pytest.raises(DataError, match=r"c\.jsonl\.zst: cut short"):
        build_corpus(spec(stage, on_bad_file="error", exact_dedup=False), stage.raw, stage.out)
    second = {path: path.stat().st_mtime_ns for path in stage.out.rglob("segment.json")}
    assert not first.items() & second.items()
    # Another source.
    given["one"]["a.jsonl"] += jsonl([{"text": "one more"}])
    stage.place(**given)
    build_corpus(spec(stage, exact_dedup=False), stage.raw, stage.out)
    build_corpus(spec(stage, exact_dedup=False), stage.raw, stage.root / "fresh")
    assert file_hashes(stage.out) == file_hashes(stage.root / "fresh")
    assert not list(stage.out.rglob(".*"))


@pytest.mark.usefixtures("small_batches")
def test_segments_of_which_nothing_is_kept(stage: CorpusStage) -> None:
    bad = b"{bad\n" * 20_000
    good = jsonl([{"text": text} for text in SENTENCES])
    result = stage.run({"a.jsonl": bad, "b.jsonl": good, "c.jsonl": bad}, exact_dedup=True)
    assert result.texts == set(SENTENCES)
    assert result.manifest.counts["dropped"] == {"bad_json": 40_000}


# Stops for ever once ``after`` batches of the first pass, or lines of the second, have passed ``signal``: until it is
# killed it gets through two more.
SCRIPT = """
import json, sys, time
from pathlib import Path
from palimpsest import codec
from palimpsest.corpus import cleaning_workers, deduplicate_and_split, segments
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.corpus.reading import read_file
from palimpsest.specs.data import CorpusSpec
read_file.BATCH_BYTES, segments.SEGMENT_BYTES, cleaning_workers._BYTES_PER_PROCESS = 4000, 20_000, 1000
spec, raw, out, workers, stop = map(json.loads, sys.argv[1:])
passed = 0

def stopping(function):
    def stop_after(*arguments):
        global passed
        for item in function(*arguments):
            if passed == stop["after"]:
                Path(stop["signal"]).touch()
            if passed == stop["after"] + 2:
                time.sleep(3600)
            passed += 1
            yield item
    return stop_after

if __name__ == "__main__":
    if stop and stop["deduplicate_and_split"]:
        deduplicate_and_split.read_lines = stopping(deduplicate_and_split.read_lines)
    elif stop:
        segments.Segments.extend = stopping(segments.Segments.extend)
    build_corpus(codec.decode(CorpusSpec, spec, "spec"), Path(raw), Path(out), workers)
"""


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Where a run stops to be killed."""

    deduplicate_and_split: bool
    after: int
    signal: str


def start(spec: CorpusSpec, raw: Path, out: Path, workers: int, stop: Stop | None = None) -> subprocess.Popen[bytes]:
    values = (codec.encode(spec), str(raw), str(out), workers, stop and vars(stop))
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *map(json.dumps, values)], start_new_session=True)


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(("workers", "kills"), [(1, range(20)), (2, range(2, 20, 4))])
def test_killed_at_random_points(stage: CorpusStage, workers: int, kills: range) -> None:
    """Up to 20 kills, six of them in the second pass; the segments of earlier runs are never written again."""
    stage.place(**source_files(150))
    build_corpus(spec(stage), stage.raw, stage.root / "straight")
    rng = random.Random(11)
    seen: dict[Path, int] = {}
    for kill in kills:
        signal_file = stage.root / f"reached-{kill}"
        # A segment has five or six batches: some runs finish one, others none, so that all 14 stay in the first pass.
        after = rng.randrange(7) if kill < 14 else rng.randrange(1, 600)
        stop = Stop(deduplicate_and_split=kill >= 14, after=after, signal=str(signal_file))
        process = start(spec(stage), stage.raw, stage.out, workers, stop)
        while not signal_file.exists():
            assert process.poll() is None, "the run ended before it was killed"
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.02))  # somewhere in the next two
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for_the_end_of(process.pid)
        assert not (stage.out / "manifest.json").exists()
        assert any((stage.out / split).exists() for split in SPLITS) == (kill >= 14)
        now = {path: path.stat().st_mtime_ns for path in stage.out.glob(".work/segments/*/segment.json")}
        assert seen.items() <= now.items()
        seen = now
    assert len(seen) == 20
    assert start(spec(stage), stage.raw, stage.out, workers).wait() == 0
    assert file_hashes(stage.out) == file_hashes(stage.root / "straight")


def wait_for_the_end_of(group: int) -> None:
    """Wait for workers, which exit when their parent was killed; each run has a process group of its own."""
    for _ in range(1200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived their parent by a minute")


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_two_languages_at_once_do_not_touch_each_other(tmp_path: Path) -> None:
    stages = {}
    for language in ("en", "fr"):
        stages[language] = stage = CorpusStage(tmp_path / language)
        files = source_files(150)
        files["two"][f"{language}.jsonl"] = jsonl([{"text": f"{language} {text}"} for text in SENTENCES[:50]])
        stage.place(**files)
        build_corpus(spec(stage, language), stage.raw, stage.root / "alone")
    both = tmp_path / "corpus"
    running = [start(spec(stage, language), stage.raw, both / language, 1) for language, stage in stages.items()]
    assert [process.wait() for process in running] == [0, 0]
    assert {path.name for path in both.iterdir()} == {"en", "fr"}
    for language, stage in stages.items():
        assert file_hashes(both / language) == file_hashes(stage.root / "alone")
