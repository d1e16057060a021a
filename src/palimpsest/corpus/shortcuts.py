"""datatrove's costly filters with shortcuts: where bounds prove that no rule can drop a text, no rule is run.

The verdict is always datatrove's: a bound that does not suffice leaves it to the filter itself.
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


class QuickRepetition(GopherRepetitionFilter):  # type: ignore[misc]
    """Gopher's rules on repetition. Runs of words are compared by 64-bit hashes of their characters."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._lines = GopherRepetitionFilter(**given | {"top_n_grams": (), "dup_n_grams": ()})

    def filter(self, doc: Document) -> Verdict:
        rejected: Verdict = self._lines.filter(doc)
        if rejected is not True:
            return rejected
        runs = Runs(split_into_words(doc.text, self.language))
        size = len(doc.text)
        varied = all(runs.most_top_characters(n) / size <= most for n, most in self.top_n_grams) and all(
            runs.most_repeated_characters(n) / size <= most for n, most in self.dup_n_grams
        )
        return True if varied else super().filter(doc)


class Runs:
    """Upper bounds on what datatrove counts of the runs of n words of a text.

    Equal runs have equal hashes, and a collision only raises a bound. About 40 bytes a character while it is built.
    """

    def __init__(self, words: Sequence[str]) -> None:
        codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), "<u4")
        powers = np.full(len(codes), _BASE, np.uint64).cumprod()
        inverses = np.full(len(codes) + 1, _INVERSE, np.uint64).cumprod()
        self._ends = np.fromiter((0, *map(len, words)), np.int64, len(words) + 1).cumsum()
        # A polynomial over a run of characters is a difference of sums, shifted to the run's start.
        self._sums = np.concatenate((np.zeros(1, np.uint64), (powers * codes).cumsum()))[self._ends]
        self._shifts = inverses[self._ends]

    def most_repeated_characters(self, n: int) -> int:
        """In all runs that occurred before, white space left out."""
        lengths, _, first = self._sorted(n)
        return int(lengths[~first].sum())

    def most_top_characters(self, n: int) -> int:
        """In all occurrences of one run, spaces between its words included."""
        lengths, starts, _ = self._sorted(n)
        if not len(starts):
            return 0
        counts = np.diff(starts, append=len(lengths))
        return int((counts * (np.maximum.reduceat(lengths, starts) + n - 1)).max())

    def _sorted(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """The lengths of runs in the order of their hashes, where each hash starts, and whether it does."""
        hashes = (self._sums[n:] - self._sums[:-n]) * self._shifts[:-n]
        order = hashes.argsort()
        hashes = hashes[order]
        first = np.ones(len(hashes), np.bool_)
        np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
        return (self._ends[n:] - self._ends[:-n])[order], np.flatnonzero(first), first


class QuickQuality(GopherQualityFilter):  # type: ignore[misc]
    """Gopher's rules on quality. Words of letters alone, quickly found, bound the words with a letter or no symbol."""

    def filter(self, doc: Document) -> Verdict:
        words = split_into_words(doc.text, self.language)
        good = self._surely_words(words) and self._surely_lines(doc.text, len(words))
        return True if good else super().filter(doc)

    def _surely_words(self, words: list[str]) -> bool:
        plain = list(filter(str.isalpha, words))
        if not plain:
            return False
        least, most = len(plain), len(words)
        return (
            least >= (self.min_doc_words or 0)
            and most <= (self.max_doc_words or math.inf)
            and len("".join(plain)) / most >= (self.min_avg_word_length or 0)
            and len("".join(words)) / least <= (self.max_avg_word_length or math.inf)
            and least / most >= (self.max_non_alpha_words_ratio or 0)
            and len(self.stop_words.intersection(words)) >= (self.min_stop_words or 0)
        )

    def _surely_lines(self, text: str, words: int) -> bool:
        lines = text.splitlines()
        ellipses = text.count("...") + text.count("…")
        bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
        return (
            max(text.count("#"), ellipses) / words <= (self.max_symbol_word_ratio or math.inf)
            and bullets / len(lines) <= (self.max_bullet_lines_ratio or math.inf)
            and ellipses / len(lines) <= (self.max_ellipsis_lines_ratio or math.inf)
        )


class QuietC4(C4QualityFilter):  # type: ignore[misc]
    """C4's rules without a count of every line, a third of the time, which nobody reads."""

    def stat_update(self, *labels: str, value: int = 1, unit: str | None = None) -> None:
        """Count nothing."""
