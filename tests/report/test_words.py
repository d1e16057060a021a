"""Numbers as text, the summary's sentences, and the terminal's table."""

from __future__ import annotations

from typing import Any

import pytest
from support.made_results import MadeResults

from palimpsest.report import formatting, summary, terminal_table

THIN = "\u202f"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, f"1{THIN}k"),
        (999_499, f"999{THIN}k"),
        (999_500, f"1{THIN}M"),
        (1_126_400, f"1.13{THIN}M"),
        (100e9, f"100{THIN}B"),
        (2.5e12, f"2.5{THIN}T"),
    ],
)
def test_compact(value: float, text: str) -> None:
    assert formatting.compact(value) == text


def test_signs_and_powers() -> None:
    assert formatting.signed(-0.1234) == "−0.123" and formatting.signed(0.0004) == "0.000" == formatting.signed(-0.0004)
    assert formatting.scientific(1.4929e12) == "1.49×10¹²" and formatting.scientific(3e-5) == "3.00×10⁻⁵"
    assert formatting.count(1126400) == f"1{THIN}126{THIN}400"
    assert [formatting.percent(x) for x in (0, 0.0001, 0.051, 0.0999, 0.857)] == [
        f"0{THIN}%", f"<0.1{THIN}%", f"5.1{THIN}%", f"10{THIN}%", f"86{THIN}%",
    ]  # fmt: skip


def test_text_of_blanks_alone_is_made_visible() -> None:
    assert formatting.visible("  \n\t\u00a0\u200b") == "␣␣↵␉‹U+00A0›‹U+200B›"
    assert formatting.visible(" a\nb ") == " a↵b " and formatting.visible("") == ""
    assert formatting.visible("a\ud800b").encode() == "a\ufffdb".encode()  # a broken surrogate does not stop the page


def _say(made: MadeResults) -> str:
    return " ".join(summary.paragraphs(made.read()))


def _forget(**means: float) -> MadeResults:
    made = MadeResults()
    for arm, mean in means.items():
        for language in ("en", "fr"):
            made.value["arms"][arm]["forgetting"][language]["mean"] = mean
    return made


def test_summary_answers_the_question() -> None:
    said = _say(_forget(sequential=0.8, replay=0.2, mer=-0.1))
    assert "ended 0.800 nats per token on average above the best" in said
    assert f"replayed in 25{THIN}% of each batch (replay) it ended 0.200 above, 75{THIN}% less forgetting" in said
    assert "1.22× the training compute of sequential" in said
    assert "(mer) nothing of that is left (−0.100)" in said
    assert "one seed" in said


def test_summary_claims_nothing_when_nothing_was_forgotten() -> None:
    said = _say(_forget(sequential=-0.02, replay=0.3, mer=0.0))
    assert "it forgot nothing on average" in said and "less forgetting" not in said and "is left" not in said
    assert "more forgetting" in _say(_forget(sequential=0.2, replay=0.3))


@pytest.mark.parametrize("seeds", [1, 3])
def test_terminal_table(seeds: int) -> None:
    made = MadeResults(arms=("sequential", "replay", "reptile", "mer", "joint"), seeds=seeds)
    value: dict[str, Any] = made.value
    lines = terminal_table.headline(made.read()).splitlines()
    rows = {line.split()[0]: line for line in lines[2:7]}
    assert max(map(len, lines[:7])) <= 100 and set(rows) == set(value["arms"])
    assert len({len(line) for line in lines[1:7]}) == 1  # the last column is right-aligned
    for name, arm in value["arms"].items():
        cells = [cell.split("±")[0] for cell in rows[name].split()]
        final = [arm["loss"][arm["stages"][-1]][language]["mean"] for language in ("en", "fr", "de")]
        assert cells[1:4] == [f"{mean:.3f}" for mean in final]
        forgot = [f"{value['mean']:+.3f}" for value in arm["forgetting"].values()] or ["–", "–"]
        assert cells[4:6] == forgot
        assert cells[-1] == f"{arm['flops'] / value['arms']['sequential']['flops']:.2f}×"


def test_terminal_table_without_a_sequential_arm_shows_flops() -> None:
    text = terminal_table.headline(MadeResults(arms=("mer",), languages=("en",)).read())
    assert "×10" in text and "relative" not in text and "final loss" in text
