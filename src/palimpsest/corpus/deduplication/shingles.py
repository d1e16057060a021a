"""What is compared of a text: its units, and lists of texts as arrays for the compiled loops.

A shingle is a run of n consecutive units. Units are words: maximal runs of letters, marks and digits (Unicode L, M, N).
In languages without spaces (languages.UNSPACED) they are the visible characters: a cut by script is only word-like, and
one edit moves the cuts after it. Both are folded to one case by Unicode's simple case folding, which keeps the length:
ß and ss differ, ẞ and ß do not. The tables come from ``unicodedata``, so characters that a later Python knows may count
there and not here.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from palimpsest.corpus.languages import UNSPACED

Table = NDArray[np.uint32]
_CODE_POINTS = 0x110000
# Planes 4 to 13 are empty, 15 and 16 are for private use: no letters, no case, all visible.
_ASSIGNED = (range(0x40000), range(0xE0000, 0xE1000))
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"})
_UTF_32 = f"utf-32-{sys.byteorder[0]}e"


def is_spaced(language: str) -> bool:
    """Whether the language is compared by words, and not by characters."""
    return language not in UNSPACED


@cache
def character_tables() -> tuple[Table, Table]:
    """The characters of words and the visible ones: by code point, the case-folded code point, 0 for all others."""
    word, visible = np.zeros(_CODE_POINTS, np.uint32), np.arange(_CODE_POINTS, dtype=np.uint32)
    for codes in _ASSIGNED:
        characters = [*map(chr, codes)]
        categories = [*map(unicodedata.category, characters)]
        folded = np.fromiter(map(_folded, characters), np.uint32, len(codes))
        part = slice(codes.start, codes.stop)
        word[part] = folded * np.array([category[0] in "LMN" for category in categories])
        visible[part] = folded * np.array([category not in _INVISIBLE for category in categories])
    return word, visible


def _folded(character: str) -> int:
    folded = character.casefold()
    if len(folded) > 1:
        folded = character.lower()
    return ord(folded if len(folded) == 1 else character)


def code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of all texts concatenated, 4 bytes each, and the end offset of each text."""
    codes = np.frombuffer("".join(texts).encode(_UTF_32, "surrogatepass"), np.uint32)
    return codes, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
