"""datatrove's costly filters behind cheap bounds: where these prove that no rule can drop a text, no rule is run.

The verdict is always datatrove's: where a bound does not suffice, the filter itself decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.text import split_into_words
from numpy.typing import NDArray

Verdict = bool | tuple[bool, str]
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)


class FastRepetitionFilter(GopherRepetitionFilter):  # type: ignore[misc]
    """Gopher's rules on repetition. N-grams of words are compared by 64-bit hashes of their characters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._line_rules = GopherRepetitionFilter(**settings | {"top_n_grams": (), "dup_n_grams": ()})

    def filter(self, doc: Document) -> Verdict:
        rejected: Verdict = self._line_rules.filter(doc)
        if rejected is not True:
            return rejected
        bounds = NgramBounds(split_into_words(doc.text, self.language))
        size = len(doc.text)
        passes = all(bounds.top_characters(n) / size <= limit for n, limit in self.top_n_grams) and all(
            bounds.repeated_characters(n) / size <= limit for n, limit in self.dup_n_grams
        )
        return True if passes else super().filter(doc)


class NgramBounds:
    """Upper bounds on what datatrove counts of the n-grams of words of a text.

    Equal n-grams have equal hashes, and a collision only raises a bound. About 40 bytes a character while it is built.
    """

    def __init__(self, words: Sequence[str]) -> None:
        codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), "<u4")
        powers = np.full(len(codes), _BASE, np.uint64).cumprod()
        inverses = np.full(len(codes) + 1, _INVERSE, np.uint64).cumprod()
        self._ends = np.fromiter((0, *map(len, words)), np.int64, len(words) + 1).cumsum()
        # The polynomial hash of a range of characters is a difference of prefix sums, shifted to the range's start.
        self._sums = np.concatenate((np.zeros(1, np.uint64), (powers * codes).cumsum()))[self._ends]
        self._shifts = inverses[self._ends]

    def repeated_characters(self, n: int) -> int:
        """Bounds the characters in n-grams that occurred before, without white space."""
        lengths, _, first = self._sorted(n)
        return int(lengths[~first].sum())

    def top_characters(self, n: int) -> int:
        """Bounds the characters in all occurrences of one n-gram, with the spaces between its words."""
        lengths, starts, _ = self._sorted(n)
        if not len(starts):
            return 0
        counts = np.diff(starts, append=len(lengths))
        return int((counts * (np.maximum.reduceat(lengths, starts) + n - 1)).max())

    def _sorted(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """The lengths of n-grams sorted by hash, where each hash starts, and whether one starts at each n-gram."""
        hashes = (self._sums[n:] - self._sums[:-n]) * self._shifts[:-n]
        order = hashes.argsort()
        hashes = hashes[order]
        first = np.ones(len(hashes), np.bool_)
        np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
        return (self._ends[n:] - self._ends[:-n])[order], np.flatnonzero(first), first


class FastQualityFilter(GopherQualityFilter):  # type: ignore[misc]
    """Gopher's rules on quality. The words of letters alone, which are cheap to find, bound what the rules count."""

    def filter(self, doc: Document) -> Verdict:
        words = split_into_words(doc.text, self.language)
        passes = self._words_pass(words) and self._lines_pass(doc.text, len(words))
        return True if passes else super().filter(doc)

    def _words_pass(self, words: list[str]) -> bool:
        plain = list(filter(str.isalpha, words))
        if not plain:
            return False
        fewest, count = len(plain), len(words)
        return (
            fewest >= (self.min_doc_words or 0)
            and count <= (self.max_doc_words or math.inf)
            and len("".join(plain)) / count >= (self.min_avg_word_length or 0)
            and len("".join(words)) / fewest <= (self.max_avg_word_length or math.inf)
            and fewest / count >= (self.max_non_alpha_words_ratio or 0)
            and len(self.stop_words.intersection(words)) >= (self.min_stop_words or 0)
        )

    def _lines_pass(self, text: str, words: int) -> bool:
        lines = text.splitlines()
        ellipses = text.count("...") + text.count("…")
        bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
        return (
            max(text.count("#"), ellipses) / words <= (self.max_symbol_word_ratio or math.inf)
            and bullets / len(lines) <= (self.max_bullet_lines_ratio or math.inf)
            and ellipses / len(lines) <= (self.max_ellipsis_lines_ratio or math.inf)
        )


class QuietC4Filter(C4QualityFilter):  # type: ignore[misc]
    """C4's rules without datatrove's statistics of every line, which nothing reads: a third of the time."""

    def stat_update(self, *labels: str, value: int = 1, unit: str | None = None) -> None:
        """Does nothing."""
