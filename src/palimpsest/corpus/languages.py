"""What the cleaning rules need to know about a language, by ISO 639-1 code: stop words, lines, labels."""

from __future__ import annotations

from dataclasses import dataclass

# Written without spaces between words: split by script (word_splitter.py), and compared by characters (shingles.py).
UNSPACED = frozenset({"ja", "km", "lo", "th", "zh"})

# The language identifier's label where it is not the code itself: Bokmål has that of the macro-language.
IDENTIFIER_LABELS = {"nb": "no"}


@dataclass(frozen=True, kw_only=True)
class LanguageRules:
    """Settings of one language for datatrove's rules; the defaults are those of the papers, made for English.

    Empty ``stop_words`` switch the stop-word rule off. ``min_line_words`` is C4's least number of space-separated words
    in a line and ``max_line_word`` the length of its longest one; -1 switches either off. ``short_line`` is the length
    up to which a line is short for FineWeb's rule, in characters.
    """

    stop_words: tuple[str, ...] = ()
    min_line_words: int = 3
    max_line_word: int = 1000
    short_line: int = 30


# C4 counts words by spaces: a Japanese line is one "word", and every line would be dropped. A word of about two
# characters carries what five or six letters do in an alphabet, so "short" lines shrink alike.
_CJK = LanguageRules(min_line_words=-1, max_line_word=-1, short_line=12)
_PIECES = LanguageRules(min_line_words=-1, max_line_word=-1)

_LANGUAGES = {
    "en": LanguageRules(stop_words=("the", "be", "to", "of", "and", "that", "have", "with")),
    "fr": LanguageRules(
        stop_words=("le", "la", "les", "de", "des", "et", "un", "une", "que", "dans", "est", "pour", "en")
    ),
    "de": LanguageRules(
        stop_words=("der", "die", "das", "und", "ist", "in", "zu", "den", "nicht", "ein", "eine", "mit")
    ),
    "ar": LanguageRules(
        stop_words=("في", "من", "على", "إلى", "أن", "عن", "التي", "الذي", "هذا", "ما", "لا", "كان", "مع", "هو"),
    ),
    # Particles are words of their own only between kanji, so a count of stop words would measure the spelling.
    "ja": _CJK,
    "zh": _CJK,
    "km": _PIECES,
    "lo": _PIECES,
    "th": _PIECES,
}


def language_rules(language: str) -> LanguageRules:
    """The rules of a language; those of the papers without stop words for a language that has no entry."""
    return _LANGUAGES.get(language, LanguageRules())
