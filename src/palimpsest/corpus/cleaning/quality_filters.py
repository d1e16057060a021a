"""datatrove's quality filters, called document by document, with this project's words and per-language settings."""

from __future__ import annotations

from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.utils.text import TERMINAL_PUNCTUATION
from datatrove.utils.word_tokenizers import WordTokenizer

from palimpsest.corpus.cleaning.fast_filters import FastQualityFilter, FastRepetitionFilter, QuietC4Filter
from palimpsest.corpus.languages import language_rules
from palimpsest.settings.cleaning import C4Quality, Filters, FinewebQuality, GopherQuality, GopherRepetition

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
    """The quality filters of one language that are switched on, in the order of their declaration in ``settings``."""

    def __init__(self, language: str, settings: Filters, splitter: WordTokenizer) -> None:
        self._filters: list[tuple[str, BaseFilter]] = []
        if settings.c4_quality:
            self._filters.append(("c4_quality", _c4_quality(language, settings.c4_quality, splitter)))
        if settings.fineweb_quality:
            self._filters.append(("fineweb_quality", _fineweb_quality(language, settings.fineweb_quality, splitter)))
        if settings.gopher_quality:
            self._filters.append(("gopher_quality", _gopher_quality(language, settings.gopher_quality, splitter)))
        if settings.gopher_repetition:
            self._filters.append(("gopher_repetition", _gopher_repetition(settings.gopher_repetition, splitter)))

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


def _gopher_repetition(settings: GopherRepetition, splitter: WordTokenizer) -> FastRepetitionFilter:
    ngrams = {
        "top_n_grams": tuple(sorted(settings.top_n_grams.items())),
        "dup_n_grams": tuple(sorted(settings.dup_n_grams.items())),
    }
    return FastRepetitionFilter(language=splitter, **vars(settings) | ngrams)


def _gopher_quality(language: str, settings: GopherQuality, splitter: WordTokenizer) -> FastQualityFilter:
    """``stop_words`` None: the built-in ones; without any the rule is off."""
    words = settings.stop_words
    if words is None:
        words = language_rules(language).stop_words
    stop_words = {"stop_words": list(words), "min_stop_words": settings.min_stop_words if words else None}
    return FastQualityFilter(language=splitter, **vars(settings) | stop_words)


def _c4_quality(language: str, settings: C4Quality, splitter: WordTokenizer) -> QuietC4Filter:
    rules = language_rules(language)
    return QuietC4Filter(
        language=splitter,
        min_words_per_line=rules.min_line_words,
        max_word_length=rules.max_line_word,
        **vars(settings),
    )


def _fineweb_quality(language: str, settings: FinewebQuality, splitter: WordTokenizer) -> FinewebLinesFilter:
    short_line = language_rules(language).short_line
    return FinewebLinesFilter(language=splitter, short_line_length=short_line, stop_chars=_LINE_ENDS, **vars(settings))
