"""Tasks and samples: what the models answer and what they write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from palimpsest.report import answers, figures, generated, inputs, page, palette
from palimpsest.report.results import parse


def _table(made) -> dict[str, dict[str, answers.Answer]]:
    found = parse(made.value)
    rows = answers.table(found, palette.styles([arm.name for arm in found.arms]))
    return {row.name: {answer.style.name: answer for answer in row.answers} for row in rows}


@pytest.mark.parametrize("seeds", [1, 3])
def test_scores_are_those_after_the_last_stage_with_their_spread(seeds: int, made: Callable) -> None:
    it = made(seeds=seeds)
    table = _table(it)
    assert set(table) == {"cloze_en", "xwinograd_fr", "pubmedqa"}
    for task, row in table.items():
        for arm, answer in row.items():
            last = it.value["arms"][arm]["tasks"]["joint" if arm == "joint" else "de"][task]
            assert answer.text == f"{last['mean']:.3f}"
            assert answer.note == (f"±{last['sd']:.3f}" if seeds > 1 else "±0.012")
    history = it.value["arms"]["mer"]["tasks"]
    assert [f"{history[stage]['pubmedqa']['mean']:.3f}" for stage in ("init", "en", "fr", "de")] == re.findall(
        r"\d\.\d{3}", table["pubmedqa"]["mer"].history
    )


def test_guessing_is_marked_and_the_best_is_never_joint(made: Callable) -> None:
    it = made()
    for arm, score in {"sequential": 0.274, "replay": 0.2742, "mer": 0.226, "joint": 0.9}.items():
        stage = it.value["arms"][arm]["stages"][-1]
        it.value["arms"][arm]["tasks"][stage]["cloze_en"]["mean"] = score
    row = _table(it)["cloze_en"]  # chance 0.25, standard error 0.0123: what is within 0.0241 may be guessed
    assert {arm: answer.guessed for arm, answer in row.items()} == {
        "sequential": True, "replay": False, "mer": True, "joint": False,
    }  # fmt: skip
    assert [arm for arm, answer in row.items() if answer.best] == ["sequential", "replay"]  # equal as written
    assert not any(answer.guessed for answer in _table(it)["pubmedqa"].values())  # no chance level


def test_seeds_that_agree_may_still_all_have_guessed(made: Callable) -> None:
    """All seeds are asked the same questions: their spread says nothing of the luck of these."""
    it = made(seeds=3)
    for arm, sd in {"sequential": 0.001, "replay": 0.02, "mer": 0.0, "joint": None}.items():
        stage = it.value["arms"][arm]["stages"][-1]
        it.value["arms"][arm]["tasks"][stage]["cloze_en"] = {"mean": 0.273, "sd": sd, "n": 3}  # chance: 0.25
    for run in it.runs.values():
        run["tasks"]["cloze_en"]["stderr"] = 0.013 if "joint" not in run["arms"] else None
    row = _table(it)["cloze_en"]
    assert {arm: (answer.note, answer.guessed) for arm, answer in row.items()} == {
        "sequential": ("±0.013", True), "replay": ("±0.020", True), "mer": ("±0.013", True), "joint": ("", False),
    }  # fmt: skip


def test_no_tasks_no_samples_no_sections(made: Callable, tmp_path: Path) -> None:
    it = made()
    it.value["tasks"] = {}
    for arm in it.value["arms"].values():
        arm["tasks"] = {}
    for run in it.runs.values():
        run["samples"] = {}
    text = page.render(inputs.read(*it.write(tmp_path), []))
    assert "Zero-shot" not in text and "What the models write" not in text
    text = page.render(inputs.read(*made().write(tmp_path), []))
    assert "Zero-shot" in text and "What the models write" in text


def _samples(made) -> dict[str, list[generated.Prompt]]:
    found = parse(made.value)
    return generated.read(found, palette.styles([arm.name for arm in found.arms]))


def test_samples_follow_the_stages_and_shared_checkpoints_are_shown_once(made: Callable) -> None:
    it = made(languages=("en", "ar", "ja"))
    shown = _samples(it)
    assert list(shown) == ["en", "ar", "ja"]
    first, second = shown["ar"]
    assert first.text == it.runs[it.value["arms"]["mer"]["lineages"]["0"][0]]["samples"]["ar"][0]["prompt"]
    assert second.text == f"{first.text} (2)"
    assert [stage.name for stage in first.stages] == ["Untrained", "After en", "After ar", "After ja", "All at once"]
    (untrained,) = first.stages[0].continuations
    assert untrained.everyone and len(untrained.styles) == 4
    last = {written.styles[0].name: written.text for written in first.stages[3].continuations}
    chains = {arm: it.value["arms"][arm]["lineages"]["0"] for arm in ("sequential", "replay", "mer")}
    assert last == {arm: it.runs[chain[-1]]["samples"]["ar"][0]["text"].strip() for arm, chain in chains.items()}
    assert last["sequential"] != last["replay"]


def test_samples_are_written_as_they_are_and_in_their_direction(made: Callable, tmp_path: Path) -> None:
    it = made(languages=("en", "ar"))
    path = it.value["arms"]["mer"]["lineages"]["0"][-1]
    odd = " <b>\ufffd\u202eabc\n\x00\x85 ‏'\"&amp;"
    it.runs[path]["samples"]["ar"] = [{"prompt": "مرحبا", "text": odd}, {"prompt": "نص", "text": ""}]
    text = page.render(inputs.read(*it.write(tmp_path), []))
    assert '<p class="prompt" dir="auto" lang="ar">مرحبا</p>' in text
    written = "&lt;b&gt;\ufffd\u202eabc\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\u2400\ufffd ‏&#39;&#34;&amp;amp;"
    assert f'<p dir="auto" lang="ar">{written}</p>' in text
    assert '<p dir="auto" lang="ar">(nothing)</p>' in text


def test_broken_surrogates_do_not_stop_the_page() -> None:
    assert figures.visible("a\ud800b").encode() == "a\ufffdb".encode()
