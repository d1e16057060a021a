"""datatrove's quality filters, called document by document, with this project's words and per-language settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter
from datatrove.utils.text import TERMINAL_PUNCTUATION

from palimpsest.corpus.cleaning.fast_filters import FastQualityFilter, FastRepetitionFilter, QuietC4Filter
from palimpsest.corpus.cleaning.word_splitter import RegexWordSplitter
from palimpsest.corpus.languages import language_rules

# FineWeb counted the quotes of English too. Without closing quotes and brackets, dialogue looks like a list: a line of
# direct speech ends in 」 in Japanese, in “ or « in German, in ” or » elsewhere.
_LINE_ENDS = (*sorted(TERMINAL_PUNCTUATION), *"…\"'’‘”“»«›‹」』）)")


class FinewebLinesFilter(FineWebQualityFilter):  # type: ignore[misc]
    """FineWeb's rules on lines without the blank ones: the thresholds were set on text that has none."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        lines = "\n".join([line for line in doc.text.split("\n") if line.strip()])
        verdict: bool | tuple[bool, str] = super().filter(Document(text=lines, id=""))
        return verdict


class QualityFilters:
    """The filters of one language in their order in ``filters``: by key the settings, or None for off."""

    def __init__(
        self, language: str, filters: Mapping[str, Mapping[str, Any] | None], splitter: RegexWordSplitter
    ) -> None:
        build: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "gopher_repetition": lambda settings: _gopher_repetition(settings, splitter),
            "gopher_quality": lambda settings: _gopher_quality(language, settings, splitter),
            "c4_quality": lambda settings: _c4_quality(language, settings, splitter),
            "fineweb_quality": lambda settings: FinewebLinesFilter(
                language=splitter, short_line_length=language_rules(language).short_line, stop_chars=_LINE_ENDS,
                **settings,
            ),
        }  # fmt: skip
        self._filters = [(key, build[key](settings)) for key, settings in filters.items() if settings is not None]

    def apply(self, text: str) -> tuple[str, str | None]:
        """The text, and the reason to drop it (``filter.rule``) or None. C4 removes lines of what it keeps."""
        document = Document(text=text, id="")
        for key, rule in self._filters:
            verdict = rule.filter(document)
            if isinstance(verdict, tuple):
                return document.text, f"{key}.{verdict[1]}"
            if not document.text:
                return text, f"{key}.no_lines_left"
        return document.text, None


def _gopher_repetition(settings: Mapping[str, Any], splitter: RegexWordSplitter) -> FastRepetitionFilter:
    """The keys of JSON are strings, and datatrove wants pairs of n and ratio."""
    ngrams = {key: _pairs(settings[key]) for key in ("top_n_grams", "dup_n_grams") if key in settings}
    return FastRepetitionFilter(language=splitter, **{**settings, **ngrams})


def _pairs(ratios: Mapping[Any, float]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((int(n), limit) for n, limit in ratios.items()))


def _gopher_quality(language: str, settings: Mapping[str, Any], splitter: RegexWordSplitter) -> FastQualityFilter:
    """``stop_words`` null: the built-in ones; without any the rule is off."""
    stop_words = settings.get("stop_words")
    if stop_words is None:
        stop_words = list(language_rules(language).stop_words)
    chosen = {**settings, "stop_words": stop_words}
    return FastQualityFilter(language=splitter, **(chosen if stop_words else {**chosen, "min_stop_words": None}))


def _c4_quality(language: str, settings: Mapping[str, Any], splitter: RegexWordSplitter) -> QuietC4Filter:
    rules = language_rules(language)
    return QuietC4Filter(
        language=splitter, min_words_per_line=rules.min_line_words, max_word_length=rules.max_line_word, **settings
    )
