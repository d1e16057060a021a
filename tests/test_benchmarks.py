"""Benchmarks on small inputs: what they print agrees with itself and with what is known; speeds are not judged here."""

from __future__ import annotations

import json
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from support.corpus_stage import SENTENCES, jsonl

ROOT = Path(__file__).parents[1]


def run(name: str, *arguments: object) -> tuple[str, dict[str, float]]:
    """The output of a benchmark and its ratios, once the last line has the form that all benchmarks keep."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return output, conclusion(output, name)["ratios"]


def conclusion(output: str, name: str) -> dict[str, Any]:
    last = json.loads(output.splitlines()[-1])
    assert set(last) == {"name", "peer", "n", "ratios"}
    assert last["name"] == name and last["n"] > 0
    return dict(last)


def numbers(pattern: str, output: str) -> list[float]:
    """The numbers in the first line that the pattern matches."""
    match = re.search(rf"^.*{pattern}.*$", output, re.MULTILINE)
    assert match, output
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", match[0].replace(",", ""))]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A folder of English text in the form of PALIMPSEST_TEXT: 40 good documents, and ten that repeat themselves."""
    rng = random.Random(3)
    good = [". ".join(rng.sample(SENTENCES, 6)) + "." for _ in range(40)]
    bad = ["The same few words of nothing again and again. " * 30] * 10
    documents = [{"id": str(number), "text": text} for number, text in enumerate(good + bad)]
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "train.en.jsonl.zst").write_bytes(zstandard.compress(jsonl(documents)))
    return tmp_path


@pytest.mark.slow
def test_clean_keeps_the_same_documents_as_datatrove_and_prints_both_ratios(text: Path) -> None:
    output, ratios = run("clean", "--text", text, "--languages", "en", "--documents", 50)
    ours, same_words, own_words = numbers("kept:", output)
    assert ours == same_words == 40
    assert 0 < own_words < 50
    documents, *speeds = numbers("^en: ", output)
    assert documents == 50
    assert ratios == {
        "docs_per_s_over_datatrove": pytest.approx(speeds[0] / speeds[1], rel=0.05),
        "docs_per_s_over_datatrove_own_words": pytest.approx(speeds[0] / speeds[2], rel=0.05),
    }


@pytest.mark.slow
def test_dedup_finds_the_planted_duplicates_and_prints_both_ratios(text: Path) -> None:
    output, ratios = run("dedup", "--text", text, "--languages", "en", "--documents", 80)
    documents, *speeds = numbers("^en: ", output)
    assert documents == 80
    assert numbers("^ours: ", output) == numbers("^datatrove: ", output) == [20, 20, 20, 20, 20]
    assert ratios == {
        "docs_per_s_over_datatrove": pytest.approx(speeds[0] / speeds[1], rel=0.05),
        "docs_per_s_over_datatrove_own_words": pytest.approx(speeds[0] / speeds[2], rel=0.05),
        **dict.fromkeys(("recall", "precision", "recall_datatrove", "precision_datatrove"), 1.0),
    }


@pytest.mark.slow
def test_tokenise_encodes_the_whole_text(text: Path) -> None:
    output, ratios = run("tokenise", "--text", text, "--vocabulary", 400, "--cores", 1, "--repeats", 1)
    assert numbers("documents, ", output)[0] == 50
    stage, engine = numbers("^stage ", output)[:2]
    assert ratios == {"end_to_end_over_encode_batch_fast": pytest.approx(stage / engine, rel=0.1)}


@pytest.mark.slow
def test_memory_does_not_grow_with_ten_times_the_text() -> None:
    output, ratios = run("memory", "--documents", 60, "--workers", 1)
    small, large = numbers("^60 documents: ", output)[1:], numbers("^600 documents: ", output)[1:]
    assert len(small) == len(large) == 4
    assert ratios == {"peak_10x_over_1x": pytest.approx(max(large) / max(small), rel=0.02)}
    assert 0.8 < ratios["peak_10x_over_1x"] < 1.3


@pytest.mark.slow
def test_loader_divides_by_the_need_of_an_h200() -> None:
    output, ratios = run("loader", "--gigabytes", 0.05, "--batch-size", 64, "--repeats", 3)
    # 560M has 24 layers, width 1024, MLP 2560, untied embeddings of 128,256, and attends to 2048 tokens.
    matrices = 24 * (4 * 1024**2 + 3 * 1024 * 2560) + 128_256 * 1024
    need = 989e12 * 0.5 / (6 * matrices + 12 * 24 * 1024 * 2048)
    assert numbers("an H200 at", output)[-1] == pytest.approx(need, rel=1e-4)
    warm, cold = numbers("^warm: ", output)[0], numbers("^cold: ", output)[0]
    assert ratios == {
        "tokens_per_s_over_h200_need": pytest.approx(warm / need, rel=1e-3),
        "cold_tokens_per_s_over_h200_need": pytest.approx(cold / need, rel=1e-3),
    }


@pytest.mark.slow
def test_mer_overhead_is_one_copy_of_the_weights_and_a_fraction_of_a_step() -> None:
    output, ratios = run("mer_overhead", "--preset", "nano", "--repeats", 2)
    step, interpolation = numbers("^step ", output)[:2]
    assert ratios["extra_memory_over_weights"] == 1
    # Of a window of 500 steps; the times are printed to 0.01 and 0.001 ms.
    assert ratios["step_time_ratio"] == pytest.approx(1 + interpolation / (500 * step), abs=2e-6 + 1e-3 / step)


@pytest.mark.slow
def test_replay_overhead_puts_known_times_together(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import replay_overhead

    # [pair, side, part]: reading takes 1 ms without and 3 ms with replay, computing 9 ms, once 99 ms for one side.
    taken = np.tile(np.array([[1e-3, 9e-3], [3e-3, 9e-3]]), (40, 1, 1))
    taken[7, 0, 1] = 99e-3
    replay_overhead._conclude(taken, "nano")
    ratios = conclusion(capsys.readouterr().out, "replay_overhead")["ratios"]
    assert ratios == pytest.approx(
        dict.fromkeys(
            ("step_time_ratio", "step_time_ratio_low", "step_time_ratio_high", "step_time_ratio_by_parts"), 1.2
        )
    )


@pytest.mark.slow
def test_replay_overhead_runs() -> None:
    _, ratios = run("replay_overhead", "--preset", "nano", "--repeats", 4, "--gigabytes", 0.02)
    assert 0 < ratios["step_time_ratio_low"] <= ratios["step_time_ratio"] <= ratios["step_time_ratio_high"]


@pytest.mark.slow
def test_resume_compares_the_medians_of_its_runs() -> None:
    output, ratios = run("resume", "--preset", "nano", "--repeats", 2)
    fresh, resumed = numbers("^fresh: ", output), numbers("^resumed: ", output)
    assert len(fresh) == len(resumed) == 2
    expected = statistics.median(resumed) / statistics.median(fresh)
    assert ratios == {"start_ratio": pytest.approx(expected, rel=0.02)}
