"""Fast filters beside datatrove's own: the same verdict on every text, and bounds that hold."""

from __future__ import annotations

from typing import Any

import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate, find_top_duplicate, get_n_grams
from datatrove.utils.text import PUNCTUATION_SET
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.corpus.cleaning.fast_filters import FastQualityFilter, FastRepetitionFilter, NgramBounds
from palimpsest.corpus.cleaning.word_splitter import RegexWordSplitter

_WORDS = RegexWordSplitter("en")
# Few and short words, so that runs repeat, and so that some are equal but for where words are cut.
words = st.lists(st.sampled_from(["a", "ab", "b", "ba", "the", "und", "é", "猫", "𝒳"]), max_size=60)
pieces = st.sampled_from(
    [
        "the ",
        "of ",
        "and ",
        "letters ",
        "e\u0301te\u0301 ",
        "12 ",
        "# ",
        "... ",
        "…\n",
        "\n",
        "\n- ",
        "• ",
        "?! ",
        "x-y ",
    ]
)
texts = st.lists(st.sampled_from(["the ", "of ", "letters ", "many "]) | pieces, min_size=1, max_size=120).map("".join)
_STRICT: dict[str, Any] = {
    "min_doc_words": 8,
    "max_doc_words": 60,
    "min_avg_word_length": 3,
    "max_avg_word_length": 5,
    "min_stop_words": 1,
}


@given(words, st.integers(1, 6))
def test_bounds_hold(found: list[str], n: int) -> None:
    bounds = NgramBounds(found)
    assert bounds.repeated_characters(n) >= find_all_duplicate(found, n)
    grams = get_n_grams(found, n)
    assert bounds.top_characters(n) >= (find_top_duplicate(grams) if grams else 0)
    if len(found) >= n and len({"".join(found[at : at + n]) for at in range(len(found) - n + 1)}) == len(grams):
        assert bounds.repeated_characters(n) == 0


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@given(texts)
@pytest.mark.parametrize(
    ("fast", "plain", "settings"),
    [
        (FastRepetitionFilter, GopherRepetitionFilter, {}),
        (
            FastRepetitionFilter,
            GopherRepetitionFilter,
            {"dup_line_frac": 1, "dup_line_char_frac": 1, "dup_para_frac": 1},
        ),
        (FastQualityFilter, GopherQualityFilter, _STRICT),
        (
            FastQualityFilter,
            GopherQualityFilter,
            {"min_doc_words": None, "max_doc_words": None, "min_stop_words": None},
        ),
        (FastQualityFilter, GopherQualityFilter, {"min_doc_words": 5, "max_non_alpha_words_ratio": None}),
    ],
)
def test_verdicts_are_datatroves(fast: Any, plain: Any, settings: dict[str, Any], text: str) -> None:
    assert verdict(fast(language=_WORDS, **settings), text) == verdict(plain(language=_WORDS, **settings), text)


def verdict(rule: Any, text: str) -> Any:
    try:
        return rule.filter(Document(text=text, id=""))
    except ZeroDivisionError:
        return "no words or lines"


@pytest.mark.parametrize(
    ("fast", "plain"), [(FastRepetitionFilter, GopherRepetitionFilter), (FastQualityFilter, GopherQualityFilter)]
)
def test_a_text_within_the_bounds_runs_no_rule(monkeypatch: pytest.MonkeyPatch, fast: Any, plain: Any) -> None:
    text = " ".join(["the", "and", *(f"{first}{second}word" for first in "abcdefgh" for second in "abcdefgh")])
    ran = []

    def accept(rule: object, _: Document) -> bool:
        ran.append(type(rule))
        return True

    monkeypatch.setattr(plain, "filter", accept)
    document = Document(text=text, id="")
    assert fast(language=_WORDS).filter(document) is True
    assert fast not in ran
    fast(language=_WORDS).filter(Document(text="one " * 60, id=""))
    assert fast in ran


def test_no_letter_is_a_symbol() -> None:
    """What the bounds on words rest on."""
    assert not [sign for sign in PUNCTUATION_SET if sign.isalpha()]
