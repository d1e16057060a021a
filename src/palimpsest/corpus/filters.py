"""datatrove's quality filters, called document by document, with this project's words and per-language settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter
from datatrove.utils.text import TERMINAL_PUNCTUATION

from palimpsest.corpus.languages import settings
from palimpsest.corpus.shortcuts import QuickQuality, QuickRepetition, QuietC4
from palimpsest.corpus.words import RegexWords

# FineWeb counted the quotes of English too. Without closing quotes and brackets, dialogue looks like a list: a line of
# direct speech ends in 」 in Japanese, in “ or « in German, in ” or » elsewhere.
_LINE_ENDS = (*sorted(TERMINAL_PUNCTUATION), *"…\"'’‘”“»«›‹」』）)")


class FinewebLines(FineWebQualityFilter):  # type: ignore[misc]
    """FineWeb's rules on lines, whose thresholds were set on text without blank lines: here these count for nothing."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        lines = "\n".join([line for line in doc.text.split("\n") if line.strip()])
        verdict: bool | tuple[bool, str] = super().filter(Document(text=lines, id=""))
        return verdict


class QualityFilters:
    """The chain of filters of one language, in the order of ``chosen``: filter key → its params, or None for off."""

    def __init__(self, language: str, chosen: Mapping[str, Mapping[str, Any] | None], words: RegexWords) -> None:
        make: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "gopher_repetition": lambda given: _gopher_repetition(given, words),
            "gopher_quality": lambda given: _gopher_quality(language, given, words),
            "c4_quality": lambda given: _c4_quality(language, given, words),
            "fineweb_quality": lambda given: FinewebLines(
                language=words, short_line_length=settings(language).short_line, stop_chars=_LINE_ENDS, **given
            ),
        }
        self._filters = [(key, make[key](given)) for key, given in chosen.items() if given is not None]

    def judge(self, text: str) -> tuple[str, str | None]:
        """The text, and the reason to drop it (``filter.rule``) or None. C4 takes lines out of what it keeps."""
        document = Document(text=text, id="")
        for key, rule in self._filters:
            verdict = rule.filter(document)
            if isinstance(verdict, tuple):
                return document.text, f"{key}.{verdict[1]}"
            if not document.text:
                return text, f"{key}.no_lines_left"
        return document.text, None


def _gopher_repetition(given: Mapping[str, Any], words: RegexWords) -> QuickRepetition:
    """The keys of JSON are strings, and datatrove wants pairs of n and ratio."""
    runs = {key: _pairs(given[key]) for key in ("top_n_grams", "dup_n_grams") if key in given}
    return QuickRepetition(language=words, **{**given, **runs})


def _pairs(ratios: Mapping[Any, float]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((int(n), most) for n, most in ratios.items()))


def _gopher_quality(language: str, given: Mapping[str, Any], words: RegexWords) -> QuickQuality:
    """``stop_words`` null: the built-in ones; without any the rule is off."""
    stop_words = given.get("stop_words")
    if stop_words is None:
        stop_words = list(settings(language).stop_words)
    chosen = {**given, "stop_words": stop_words}
    return QuickQuality(language=words, **(chosen if stop_words else {**chosen, "min_stop_words": None}))


def _c4_quality(language: str, given: Mapping[str, Any], words: RegexWords) -> QuietC4:
    known = settings(language)
    return QuietC4(
        language=words, min_words_per_line=known.min_line_words, max_word_length=known.max_line_word, **given
    )
