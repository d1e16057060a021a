"""Runs that were killed, and runs beside each other: the same bytes as a straight run by itself."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard

from palimpsest.corpus import segments
from palimpsest.corpus.build_corpus import build_corpus
from palimpsest.corpus.cleaning import cleaner
from palimpsest.corpus.reading import batch_stream, read_file
from palimpsest.errors import DataError

MINHASH = {"ngram": 5, "bands": 14, "rows": 8}


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def files(stage: Any, sentences: list[str], many: int) -> dict[str, dict[str, bytes]]:
    """Two sources of two files each, with duplicates between them, bad records, and a file that is cut short."""
    chance = random.Random(3)

    def documents(first: int) -> bytes:
        texts = [" ".join(chance.sample(sentences, 2)) + f" {first + number}" for number in range(many)]
        texts += chance.sample(sentences, 60)
        return stage.jsonl([{"id": f"{first}-{at}", "text": text} for at, text in enumerate(texts)]) + b"{bad\n\xff\n"

    cut = zstandard.compress(documents(3000)) + zstandard.compress(documents(4000))[:-900]
    return {
        "one": {"a.jsonl": documents(0), "b.jsonl.zst": zstandard.compress(documents(1000))},
        "two": {"a.jsonl": documents(2000), "c.jsonl.zst": cut, "d.jsonl": documents(5000)},
    }


def spec(stage: Any, **corpus: Any) -> dict[str, Any]:
    sources = [stage.local("one", max_bytes=150_000), stage.local("two")]
    chosen = {"exact_dedup": True, "minhash": MINHASH, "on_bad_file": "skip", "mask_pii": ["email"]} | corpus
    return dict(stage.spec(sources=sources, **chosen))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_file, "BATCH_BYTES", 4000)
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 20_000)


@pytest.mark.usefixtures("small")
def test_a_broken_run_goes_on_after_its_last_unit(
    stage: Any, sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.place(**files(stage, sentences, 200))
    build_corpus(spec(stage), stage.raw, stage.root / "straight")
    cleaned: list[tuple[str, str, int]] = []
    opened: list[str] = []
    allowed = 10**9
    plain_clean, plain_read = cleaner.Cleaner.clean, batch_stream.read_file

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
    assert hashes(out) == hashes(stage.root / "straight")


@pytest.mark.usefixtures("small")
def test_work_of_another_spec_or_source_is_thrown_away(stage: Any, sentences: list[str]) -> None:
    given = files(stage, sentences, 100)
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
    given["one"]["a.jsonl"] += stage.jsonl([{"text": "one more"}])
    stage.place(**given)
    build_corpus(spec(stage, exact_dedup=False), stage.raw, stage.out)
    build_corpus(spec(stage, exact_dedup=False), stage.raw, stage.root / "fresh")
    assert hashes(stage.out) == hashes(stage.root / "fresh")
    assert not list(stage.out.rglob(".*"))


@pytest.mark.usefixtures("small")
def test_units_of_which_nothing_is_kept(stage: Any, sentences: list[str]) -> None:
    bad = b"{bad\n" * 20_000
    good = stage.jsonl([{"text": text} for text in sentences])
    result = stage.run({"a.jsonl": bad, "b.jsonl": good, "c.jsonl": bad}, exact_dedup=True)
    assert result.texts == set(sentences)
    assert result.manifest.counts["dropped"] == {"bad_json": 40_000}


SCRIPT = """
import json, sys, time
from pathlib import Path
from palimpsest.corpus import cleaning_workers, second_pass, segments
from palimpsest.corpus.reading import read_file
from palimpsest.corpus.build_corpus import build_corpus
read_file.BATCH_BYTES, segments.SEGMENT_BYTES, cleaning_workers._BYTES_PER_PROCESS = 4000, 20_000, 1000
workers, pause = int(sys.argv[4]), float(sys.argv[5])

def slowly(function):
    def slow(*arguments):
        for item in function(*arguments):
            time.sleep(pause)
            yield item
    return slow

if __name__ == "__main__":
    segments.Segments.extend = slowly(segments.Segments.extend)
    second_pass.read_lines = slowly(second_pass.read_lines)
    build_corpus(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), workers)
"""


def start(arguments: dict[str, Any], raw: Path, out: Path, workers: int, pause: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(arguments), str(raw), str(out), str(workers), str(pause)]
    return subprocess.Popen(command, start_new_session=True)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("workers", "kills"), [(1, range(20)), (2, range(2, 20, 4))])
def test_killed_at_random_points(stage: Any, sentences: list[str], workers: int, kills: range) -> None:
    """20 kills, six of them in the second pass; the units of earlier runs are never written again."""
    stage.place(**files(stage, sentences, 150))
    build_corpus(spec(stage), stage.raw, stage.root / "straight")
    chance, seen, second_pass = random.Random(11), {}, 0
    for kill in kills:
        process = start(spec(stage), stage.raw, stage.out, workers, 0.01)
        units_before = len(seen)
        delay = chance.uniform(0, 0.3)
        # The first ones fall into start and cleaning, the last ones into the writing of shards.
        while not reached(stage.out, kill, units_before):
            assert process.poll() is None, "the run ended before it was killed"
            time.sleep(0.005)
        time.sleep(delay if kill < 14 else delay / 10)
        second_pass += (stage.out / "train").exists() or (stage.out / "validation").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for_the_end_of(process.pid)
        assert not (stage.out / "manifest.json").exists()
        now = {path: path.stat().st_mtime_ns for path in finished(stage.out)}
        assert seen.items() <= now.items()
        seen = now
    assert second_pass >= sum(kill >= 14 for kill in kills) > 0
    assert start(spec(stage), stage.raw, stage.out, workers, 0).wait() == 0
    assert hashes(stage.out) == hashes(stage.root / "straight")


def wait_for_the_end_of(group: int) -> None:
    """Workers end when their parent was killed; each run has a process group of its own."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived their parent by ten seconds")


def finished(out: Path) -> list[Path]:
    """The records of finished units, while others may come and go."""
    folder = out / ".work" / "segments"
    folders = list(folder.iterdir()) if folder.exists() else []
    return [path for one in folders if (path := one / "segment.json").is_file()]


def reached(out: Path, kill: int, units_before: int) -> bool:
    """Whether the run has come to where this kill belongs: started, a unit further, or writing shards."""
    if kill < 4:
        return (out / ".work").exists() or kill < 2
    if kill < 14:
        return len(finished(out)) > units_before or (out / "train").exists()
    return (out / "train").exists() or (out / "validation").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_two_languages_at_once_do_not_touch_each_other(stage: Any, sentences: list[str], tmp_path: Path) -> None:
    stages = {}
    for language in ("en", "fr"):
        stages[language] = one = type(stage)(tmp_path / language)
        given = files(one, sentences, 150)
        given["two"][f"{language}.jsonl"] = one.jsonl([{"text": f"{language} {text}"} for text in sentences[:50]])
        one.place(**given)
        build_corpus(spec(one) | {"language": language}, one.raw, one.root / "alone")
    both = tmp_path / "corpus"
    running = [
        start(spec(one) | {"language": language}, one.raw, both / language, 1, 0.002)
        for language, one in stages.items()
    ]
    assert [process.wait() for process in running] == [0, 0]
    assert {path.name for path in both.iterdir()} == {"en", "fr"}
    for language, one in stages.items():
        assert hashes(both / language) == hashes(one.root / "alone")
