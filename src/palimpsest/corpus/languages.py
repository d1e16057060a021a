"""What the cleaning rules must know of a language, by ISO 639-1 code: stop words, word lengths, lines, labels."""

from __future__ import annotations

from dataclasses import dataclass

# Written without spaces between words: cut by script (words.py), and compared by characters for near-duplicates.
UNSPACED = frozenset({"ja", "km", "lo", "th", "zh"})

# The language identifier's label where it is not the code itself: Bokmål is filed under the macro-language.
IDENTIFIER_LABELS = {"nb": "no"}


@dataclass(frozen=True, kw_only=True)
class Language:
    """Settings of one language for datatrove's rules; the defaults are those of the papers, made for English.

    Word lengths are in code points. ``stop_words`` empty switches the stop-word rule off. ``min_line_words`` is C4's
    fewest space-separated words in a line and ``max_line_word`` its longest one; -1 switches either off.
    ``short_line`` is how many characters still make a short line for FineWeb's rule.
    """

    min_word_length: float = 3
    max_word_length: float = 10
    stop_words: tuple[str, ...] = ()
    min_line_words: int = 3
    max_line_word: int = 1000
    short_line: int = 30


# A word of about two characters carries what five or six letters do in an alphabet, so mean lengths and "short" lines
# shrink alike. C4 counts words by spaces: a Japanese line is one "word", and every line would be dropped.
_CJK = Language(min_word_length=1, max_word_length=6, min_line_words=-1, max_line_word=-1, short_line=12)
# South-East Asian text is cut into pieces of at most four code points (words.py): means lie between two and four.
_PIECES = Language(min_word_length=1.5, max_word_length=10, min_line_words=-1, max_line_word=-1)
# Hebrew and Korean write in two to four signs what takes Latin letters six; Vietnamese and Dzongkha space syllables.
_SHORT = Language(min_word_length=2)
# Agglutinating languages, and scripts whose vowel signs are code points of their own.
_LONG = Language(max_word_length=14)

_LANGUAGES = {
    "en": Language(stop_words=("the", "be", "to", "of", "and", "that", "have", "with")),
    "fr": Language(stop_words=("le", "la", "les", "de", "des", "et", "un", "une", "que", "dans", "est", "pour", "en")),
    "de": Language(stop_words=("der", "die", "das", "und", "ist", "in", "zu", "den", "nicht", "ein", "eine", "mit")),
    # Short vowels are not written: the mean is about 4.6, and lists of names go below 3.
    "ar": Language(
        min_word_length=2,
        stop_words=("في", "من", "على", "إلى", "أن", "عن", "التي", "الذي", "هذا", "ما", "لا", "كان", "مع", "هو"),
    ),
    # Particles stand apart only where kanji surround them, so counting stop words would measure the spelling.
    "ja": _CJK,
    "zh": _CJK,
    "km": _PIECES,
    "lo": _PIECES,
    "th": _PIECES,
    "dz": _SHORT,
    "he": _SHORT,
    "ko": _SHORT,
    "vi": _SHORT,
    "fi": _LONG,
    "kn": _LONG,
    "ml": _LONG,
    "ta": _LONG,
    "te": _LONG,
}


def settings(language: str) -> Language:
    """The settings of a language; the papers' without stop words where nothing is known of it."""
    return _LANGUAGES.get(language, Language())
