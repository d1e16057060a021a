"""What the cleaning rules must know of a language, by ISO 639-1 code: stop words, lines, labels."""

from __future__ import annotations

from dataclasses import dataclass

# Written without spaces between words: cut by script (words.py), and compared by characters for near-duplicates.
UNSPACED = frozenset({"ja", "km", "lo", "th", "zh"})

# The language identifier's label where it is not the code itself: Bokmål is filed under the macro-language.
IDENTIFIER_LABELS = {"nb": "no"}


@dataclass(frozen=True, kw_only=True)
class Language:
    """Settings of one language for datatrove's rules; the defaults are those of the papers, made for English.

    ``stop_words`` empty switches the stop-word rule off. ``min_line_words`` is C4's fewest space-separated words in a
    line and ``max_line_word`` its longest one; -1 switches either off. ``short_line`` is how many characters still make
    a short line for FineWeb's rule.
    """

    stop_words: tuple[str, ...] = ()
    min_line_words: int = 3
    max_line_word: int = 1000
    short_line: int = 30


# C4 counts words by spaces: a Japanese line is one "word", and every line would be dropped. A word of about two
# characters carries what five or six letters do in an alphabet, so "short" lines shrink alike.
_CJK = Language(min_line_words=-1, max_line_word=-1, short_line=12)
_PIECES = Language(min_line_words=-1, max_line_word=-1)

_LANGUAGES = {
    "en": Language(stop_words=("the", "be", "to", "of", "and", "that", "have", "with")),
    "fr": Language(stop_words=("le", "la", "les", "de", "des", "et", "un", "une", "que", "dans", "est", "pour", "en")),
    "de": Language(stop_words=("der", "die", "das", "und", "ist", "in", "zu", "den", "nicht", "ein", "eine", "mit")),
    "ar": Language(
        stop_words=("في", "من", "على", "إلى", "أن", "عن", "التي", "الذي", "هذا", "ما", "لا", "كان", "مع", "هو"),
    ),
    # Particles stand apart only where kanji surround them, so counting stop words would measure the spelling.
    "ja": _CJK,
    "zh": _CJK,
    "km": _PIECES,
    "lo": _PIECES,
    "th": _PIECES,
}


def settings(language: str) -> Language:
    """The settings of a language; the papers' without stop words where nothing is known of it."""
    return _LANGUAGES.get(language, Language())
