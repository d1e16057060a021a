"""What the models write: by stage, each checkpoint once, as it is and in its direction."""

from __future__ import annotations

from pathlib import Path

from support.made_results import MadeResults
from support.report_page import Page, render

from palimpsest.report import generations, palette


def _read(made: MadeResults) -> dict[str, dict[str, generations.Stages]]:
    return generations.read(made.read(), palette.styles(list(made.arms)))


def test_texts_follow_the_stages_and_shared_checkpoints_are_shown_once() -> None:
    made = MadeResults(languages=("en", "ar", "ja"))
    shown = _read(made)
    assert list(shown) == ["en", "ar", "ja"]
    first, second = shown["ar"]
    assert first == made.runs[made.value["arms"]["mer"]["lineages"]["0"][0]]["samples"]["ar"][0]["prompt"]
    assert second == f"{first} (2)"
    stages = shown["ar"][first]
    assert list(stages) == ["Untrained", "After en", "After ar", "After ja", "All at once"]
    (untrained,) = stages["Untrained"]
    assert len(untrained.styles) == 4
    last = {written.styles[0].name: written.text for written in stages["After ja"]}
    chains = {arm: made.value["arms"][arm]["lineages"]["0"] for arm in ("sequential", "replay", "mer")}
    assert last == {arm: made.runs[chain[-1]]["samples"]["ar"][0]["text"].strip() for arm, chain in chains.items()}
    assert last["sequential"] != last["replay"]


def test_a_checkpoint_of_all_arms_is_called_so(tmp_path: Path) -> None:
    text = render(MadeResults(), tmp_path)
    assert text.count('<span class="writers">all arms</span>') == 3 * 2  # untrained: of each language and prompt


def test_texts_are_written_as_they_are_and_in_their_direction(tmp_path: Path) -> None:
    made = MadeResults(languages=("en", "ar"))
    path = made.value["arms"]["mer"]["lineages"]["0"][-1]
    odd = " <b>\ufffd\u202eabc\n\x00\x85 \u200f'\"&amp;"
    made.runs[path]["samples"]["ar"] = [
        {"prompt": "مرحبا", "text": odd}, {"prompt": "نص", "text": ""}, {"prompt": "آخر", "text": "   \n"},
    ]  # fmt: skip
    text = render(made, tmp_path)
    assert '<p class="prompt" dir="auto" lang="ar">مرحبا</p>' in text
    written = "&lt;b&gt;\ufffd\u202eabc\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\u2400\ufffd \u200f&#39;&#34;&amp;amp;"
    assert f'<p dir="auto" lang="ar">{written}</p>' in text
    assert '<p dir="auto" lang="ar">(nothing)</p>' in text
    assert '<p dir="auto" lang="ar">␣␣↵</p>' in text  # one blank parts prompt and text


def test_no_texts_no_section(tmp_path: Path) -> None:
    made = MadeResults()
    assert "What the models write" in Page(render(made, tmp_path)).texts
    for run in made.runs.values():
        run["samples"] = {}
    assert "What the models write" not in Page(render(made, tmp_path)).texts
