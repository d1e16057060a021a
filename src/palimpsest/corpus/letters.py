"""What of a text is compared: the units of a language, as lists of texts become arrays for the compiled loops.

Words are maximal runs of letters, marks and digits (Unicode L, M, N). Languages without spaces (languages.UNSPACED) are
compared by their visible characters: a cut by script is only word-like, one edit moves the cuts after it. Both are
folded to one case by Unicode's simple case folding, which keeps the length: ß and ss differ, ẞ and ß do not. The tables
come from ``unicodedata``, so characters that a later Python knows may count there and not here.
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
_CODES = 0x110000
# Planes 4 to 13 are empty, 15 and 16 are for private use: no letters, no case, all visible.
_ASSIGNED = (range(0x40000), range(0xE0000, 0xE1000))
_HIDDEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"})
_UTF_32 = f"utf-32-{sys.byteorder[0]}e"


def spaced(language: str) -> bool:
    """Whether the language is compared by words."""
    return language not in UNSPACED


@cache
def tables() -> tuple[Table, Table]:
    """What makes words, and what is visible: by code point, 0 for all else and the case-folded code point for these."""
    words, visible = np.zeros(_CODES, np.uint32), np.arange(_CODES, dtype=np.uint32)
    for codes in _ASSIGNED:
        characters = [*map(chr, codes)]
        kinds = [*map(unicodedata.category, characters)]
        folded = np.fromiter(map(_folded, characters), np.uint32, len(codes))
        part = slice(codes.start, codes.stop)
        words[part] = folded * np.array([kind[0] in "LMN" for kind in kinds])
        visible[part] = folded * np.array([kind not in _HIDDEN for kind in kinds])
    return words, visible


def _folded(character: str) -> int:
    folded = character.casefold()
    if len(folded) > 1:
        folded = character.lower()
    return ord(folded if len(folded) == 1 else character)


def packed(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of all texts one after the other, 4 bytes each, and where each text ends."""
    codes = np.frombuffer("".join(texts).encode(_UTF_32, "surrogatepass"), np.uint32)
    return codes, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
