"""Cleaning thresholds per language from the literature; keys in params.yaml override them.

Thresholds of fr, de, ar and ja are FineWeb-2's (Penedo et al. 2025), which were tuned for each language, and C4's rules
are off, as there: they target English boilerplate and would remove headings, short lines and all text with braces.
English and all other languages have the papers' own thresholds, which are the defaults of the keys. A comment explains
each value that differs.
"""

from __future__ import annotations

from typing import Any


def _repetition(lines: float, top: list[float], runs: list[float]) -> dict[str, Any]:
    """Extraction leaves few paragraphs, and FineWeb's rule counts characters: both of Gopher's are off."""
    return {
        "dup_line_frac": lines,
        "dup_para_frac": None,
        "dup_line_char_frac": None,
        "dup_para_char_frac": None,
        "top_n_grams": dict(zip(range(2, 5), top, strict=True)),
        "dup_n_grams": dict(zip(range(5, 11), runs, strict=True)),
    }


# A word of two characters carries in Chinese what five or six letters do in an alphabet; South-East Asian text is cut
# into pieces of at most four code points; Hebrew, Korean and Dzongkha write in two to four signs what takes Latin
# letters six; agglutinating languages, and scripts whose vowel signs are code points of their own, have long words.
_WORD_LENGTHS = {
    **dict.fromkeys(["zh"], (1, 6)),
    **dict.fromkeys(["km", "lo", "th"], (1.5, 10)),
    **dict.fromkeys(["dz", "he", "ko", "vi"], (2, 10)),
    **dict.fromkeys(["fi", "kn", "ml", "ta", "te"], (3, 14)),
}

CLEANING: dict[str, dict[str, Any]] = {
    "fr": {
        "filters": {
            "gopher_repetition": _repetition(0.264, [0.161, 0.149, 0.134], [0.15, 0.141, 0.131, 0.121, 0.111, 0.1]),
            "gopher_quality": {
                "min_avg_word_length": 2, "max_avg_word_length": 11, "max_non_alpha_words_ratio": 0.812,
            },
            "c4_quality": None,
            "fineweb_quality": {"line_punct_thr": 0.1, "short_line_thr": 1, "new_line_ratio": 0.185},
        }
    },
    # FineWeb-2 has 0.263 of repeated lines, 0.152 line breaks a word and 0.1 of characters in repeated lines. Speakers'
    # names are repeated short lines: it drops two thirds of the plays, and dramas in verse for their line breaks.
    "de": {
        "filters": {
            "gopher_repetition": _repetition(0.5, [0.169, 0.153, 0.137], [0.141, 0.134, 0.126, 0.117, 0.108, 0.098]),
            "gopher_quality": {
                "min_avg_word_length": 0, "max_avg_word_length": 15, "max_non_alpha_words_ratio": 0.774,
            },
            "c4_quality": None,
            "fineweb_quality": {
                "line_punct_thr": 0, "short_line_thr": 1, "char_duplicates_ratio": 0.15, "new_line_ratio": 0.25,
            },
        }
    },
    "ar": {
        "filters": {
            "gopher_repetition": _repetition(0.304, [0.197, 0.172, 0.146], [0.165, 0.153, 0.142, 0.131, 0.12, 0.109]),
            "gopher_quality": {
                "min_avg_word_length": 2, "max_avg_word_length": 9, "max_non_alpha_words_ratio": 0.787,
            },
            "c4_quality": None,
            "fineweb_quality": {"line_punct_thr": 0.143, "short_line_thr": 1, "new_line_ratio": 0.189},
        }
    },
    # Words are cut by script here, not by a lexicon, so that thresholds on words do not carry over. A loan word in
    # katakana is one long word: two of them are over 0.121 of a short text without ever being repeated. A date is three
    # numbers and three words. 50 English words say what 110 to 120 characters do, which are 30 to 55 such words.
    "ja": {
        "filters": {
            "gopher_repetition": _repetition(0.375, [0.25, 0.25, 0.25], [0.307, 0.283, 0.264, 0.248, 0.234, 0.223]),
            "gopher_quality": {
                "min_doc_words": 30,
                "min_avg_word_length": 1,
                "max_avg_word_length": 6,
                "max_non_alpha_words_ratio": 0.7,
            },
            "c4_quality": None,
            "fineweb_quality": {"line_punct_thr": 0.167, "short_line_thr": 1, "new_line_ratio": 0.162},
        }
    },
}  # fmt: skip
CLEANING |= {
    language: {"filters": {"gopher_quality": {"min_avg_word_length": least, "max_avg_word_length": most}}}
    for language, (least, most) in _WORD_LENGTHS.items()
}
