"""Normalising, words, language identification and the quality rules, on text whose right answer is known."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.corpus_stage import NO_FILTERS, SENTENCES, every_rule

from palimpsest.corpus.cleaning.language_id import LanguageIdentifier
from palimpsest.corpus.cleaning.normalise import normalise
from palimpsest.corpus.cleaning.quality_filters import QualityFilters
from palimpsest.corpus.cleaning.word_splitter import RegexWordSplitter
from palimpsest.corpus.deduplication.document_keys import content_key
from palimpsest.settings.cleaning import C4Quality, Filters, FinewebQuality, GopherQuality

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
spaced_text = st.text("ab \t\n\r\u0301\u00a0\u200b\u2028\u3000e\x00\ufeff", max_size=60)


def test_normalise_known_text() -> None:
    raw = "\ufeff \r\n  Cafe\u0301 \u00a0\r\nbell\x07 tab\there\rnew\u2028line\n\n\n\n\n\n  end\u200b \n"
    assert normalise(raw) == "Café\nbell tab\there\nnew\nline\n\n  end"
    assert normalise("a\n\n\nb") == "a\n\n\nb"
    assert normalise("می\u200cخواهم") == "می\u200cخواهم"


@given(any_text | spaced_text)
def test_normalise_is_idempotent_and_keeps_what_it_says(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in once)
    assert not re.search(r"\s\n\n\n|[^\S\n]\n|\n{4}|\s\Z|\A\s", once)
    assert visible(once) == visible(text)


def visible(text: str) -> str:
    """What normalisation must keep: everything but white space, controls and zero-width characters, composed."""
    gone = "\ufeff\ufffe\uffff\u200b"
    return unicodedata.normalize(
        "NFD", "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cc" and c not in gone)
    )


def test_content_key_is_blind_to_case_and_space_only() -> None:
    assert content_key("Straße  und\nHaus") == content_key("STRASSE und haus")
    assert content_key("one two") != content_key("onetwo")
    assert all(0 <= half < 1 << 64 for half in content_key("x"))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "It's a well-known fact, isn't it? -- yes (42).", "It's a well-known fact isn't it -- yes 42"),
        ("fr", "l’été, « déjà vu » !", "l’été « déjà vu » !"),
        ("ar", "ذَهَبَ الوَلَدُ، إلى المدرسةِ.", "ذَهَبَ الوَلَدُ إلى المدرسةِ"),
        ("hi", "हिन्दी में लिखा।", "हिन्दी में लिखा।"),
        ("ja", "吾輩は猫である。名前はまだ無い。", "吾輩 は 猫 である 名前 はまだ 無 い"),
        ("ja", "東京タワーはTokyo Towerです。", "東京 タワー は Tokyo Tower です"),
        ("zh", "这是一个句子。", "这是 一个 句子"),
    ],
)
def test_words(language: str, text: str, expected: str) -> None:
    found = RegexWordSplitter(language).word_tokenize(text)
    assert [word.rstrip("।") for word in found] == [word.rstrip("।") for word in expected.split()]


@given(any_text, st.sampled_from(["en", "ja", "th", "ar"]))
def test_words_lose_no_letter_and_are_never_none(text: str, language: str) -> None:
    words = RegexWordSplitter(language).word_tokenize(text)
    assert bool(words) == bool(text.strip())
    assert sum(c.isalnum() for c in "".join(words)) == sum(c.isalnum() for c in text)


def test_a_document_is_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = RegexWordSplitter("en")
    calls = []

    class Counted:
        def findall(self, text: str, inner: Any = words._word) -> list[str]:
            calls.append(text)
            return inner.findall(text)

    monkeypatch.setattr(words, "_word", Counted())
    filters = Filters(
        gopher_quality=GopherQuality(min_doc_words=5),
        c4_quality=C4Quality(min_num_sentences=1),
        fineweb_quality=FinewebQuality(char_duplicates_ratio=0.5),
    )
    text = " ".join(f"To be told: {sentence}." for sentence in SENTENCES[:4])
    assert QualityFilters("en", filters, words).apply(text) == (text, None)
    words.word_tokenize(text)
    assert calls == [text]


def test_sentences() -> None:
    tokenizer = RegexWordSplitter("en")
    text = 'He paid 3.50 dollars. "Really?" she said…\nYes! 猫だ。犬だ。 No end'
    expected = ["He paid 3.50 dollars.", '"Really?"', "she said…", "Yes!", "猫だ。", "犬だ。", "No end"]
    assert tokenizer.sent_tokenize(text) == expected
    assert [text[start:end] for start, end in tokenizer.span_tokenize(text)] == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The harbour was quiet that morning, and nobody came to ask about the boat."),
        ("fr", "Le port était calme ce matin-là, et personne ne vint demander le bateau."),
        ("de", "Der Hafen war an diesem Morgen still, und niemand fragte nach dem Boot."),
        ("ar", "كان الميناء هادئا في ذلك الصباح ولم يأت أحد ليسأل عن القارب."),
        ("ja", "その朝、港は静かで、誰も船のことを聞きに来なかった。"),
        ("ja", "今日は。"),
        ("nb", "Havnen var stille den morgenen, og ingen kom for å spørre etter båten min."),
    ],
)
def test_language_is_recognised_and_others_are_not(language: str, text: str) -> None:
    first, score = LanguageIdentifier(language).score(text)
    assert first
    assert score > 0.65
    for other in {"en", "fr", "de", "ar", "ja"} - {language}:
        first, score = LanguageIdentifier(other).score(text)
        assert not first
        assert score < 0.1


def test_the_middle_of_a_long_text_counts() -> None:
    english = "The harbour was quiet that morning, and nobody came to ask about the boat. "
    german = "Der Hafen war an diesem Morgen still, und niemand fragte nach dem Boot. "
    pure = LanguageIdentifier("en").score(english * 200)[1]
    assert LanguageIdentifier("en").score(english * 28 + german * 200)[1] < pure


GOPHER = replace(NO_FILTERS, gopher_quality=GopherQuality(max_doc_words=1000))
C4 = replace(NO_FILTERS, c4_quality=C4Quality())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("short text of the day", "gopher_quality.gopher_short_doc"),
        ("x " * 60, "gopher_quality.gopher_below_avg_threshold"),
        ("some word " * 60, "gopher_quality.gopher_enough_stop_words"),
        ("the of and words 1000 2000 3000 4000 " * 10, "gopher_quality.gopher_below_alpha_threshold"),
        ("the tree of life and " * 400, "gopher_quality.gopher_long_doc"),
    ],
)
def test_gopher_reasons(text: str, reason: str) -> None:
    words = RegexWordSplitter("en")
    assert QualityFilters("en", GOPHER, words).apply(text.strip())[1] == reason
    assert QualityFilters("en", NO_FILTERS, words).apply(text.strip())[1] is None


def test_filters_run_in_the_order_of_their_declaration() -> None:
    words, text = RegexWordSplitter("en"), "lorem ipsum of the day"
    both = replace(GOPHER, c4_quality=C4.c4_quality)
    assert QualityFilters("en", both, words).apply(text)[1] == "c4_quality.lorem_ipsum"
    assert QualityFilters("en", GOPHER, words).apply(text)[1] == "gopher_quality.gopher_short_doc"


def test_c4_removes_lines_but_not_japanese_ones() -> None:
    text = "A line of words that stays.\n\nHome\nPlease enable javascript to go on.\nAnother line that stays."
    kept = "A line of words that stays.\nAnother line that stays."
    assert QualityFilters("en", C4, RegexWordSplitter("en")).apply(text) == (kept, None)
    assert QualityFilters("en", C4, RegexWordSplitter("en")).apply("Home\nNews") == (
        "Home\nNews",
        "c4_quality.no_lines_left",
    )
    japanese = "吾輩は猫である。\n\n名前はまだ無い。"
    assert QualityFilters("ja", C4, RegexWordSplitter("ja")).apply(japanese) == (japanese, None)


def test_japanese_words_fit_the_length_rule() -> None:
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
    text += "何でも薄暗いじめじめした所で泣いていた事だけは記憶している。"
    words = RegexWordSplitter("ja").word_tokenize(text)
    assert len(words) > len(text) / 4
    assert 1 < np.mean([len(word) for word in words]) < 4
    published = every_rule("ja")["filters"].gopher_quality
    rules = replace(NO_FILTERS, gopher_quality=replace(published, min_doc_words=20))
    assert QualityFilters("ja", rules, RegexWordSplitter("ja")).apply(text)[1] is None
