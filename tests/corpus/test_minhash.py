"""Signatures against a twin in plain Python, and their estimates against exact Jaccard similarities."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import unicodedata
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palimpsest.corpus.deduplication.minhash import MinHasher
from palimpsest.settings.cleaning import Minhash

_MASK = (1 << 64) - 1
# Words of many scripts, marks, digits, symbols beyond the first plane, and all kinds of blanks.
_VISIBLE = (
    "Straße STRASSE ẞ İstanbul Σίσυφος ΣΊΣΥΦΟΣ مُحَمَّد محمد हिन्दी ไทย 漢字 かな カナ 한국어 1,234 ٣٤ don’t a_b "
    "😀 𝔘𝔫𝔦 𐐀𐐨 𠮷 。 、 — ! ?"
)
_ODD = [
    "e\u0301",
    "👩\u200d💻",
    "\ue000",
    "\U0010ffff",
    "\U000e0100",
    "\0",
    " ",
    "\n",
    "\t",
    "\u3000",
    "\u200b",
    "\u00ad",
]
PIECES = st.sampled_from([*_VISIBLE.split(), *_ODD])
TEXTS = st.lists(PIECES | st.text(max_size=4) | st.just(" ")).map("".join)
LANGUAGES = st.sampled_from(["en", "ar", "hi", "ja", "th"])


def mix(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


def fold(character: str) -> int:
    """Simple case folding: the first of folded, lower and itself that is one character."""
    return ord(next(c for c in (character.casefold(), character.lower(), character) if len(c) == 1))


def characters(text: str) -> list[int]:
    return [mix(fold(c)) for c in text if unicodedata.category(c) not in ("Zs", "Zl", "Zp", "Cc", "Cf", "Cs")]


def words(text: str) -> list[int]:
    hashes = []
    for inside, run in groupby(text, lambda c: unicodedata.category(c)[0] in "LMN"):
        value = 0x9E3779B97F4A7C15
        for character in run:
            value = (value ^ fold(character)) * 0xD6E8FEB86659FD93 & _MASK
        if inside:
            hashes.append(mix(value))
    return hashes


def run_hashes(units: list[int], size: int) -> list[int]:
    """A polynomial of each run, by its definition."""
    base = 0xA0761D6478BD642F
    return [
        mix(sum(unit * base ** (size - 1 - place) for place, unit in enumerate(units[at : at + size])) & _MASK)
        for at in range(len(units) - size + 1)
    ]


def bands(text: str, language: str, ngram: int, count: int, rows: int) -> list[int]:
    units = [] if language in ("ja", "th") else words(text)
    units = units or characters(text)
    shingles = run_hashes(units, min(ngram, len(units))) if units else [0]
    factors = [mix((at + 2) * 0x9E3779B97F4A7C15 & _MASK) >> 32 for at in range(count * rows)]
    minima = [min(((f * (x >> 32)) + (x & 0xFFFFFFFF)) & 0xFFFFFFFF for x in shingles) for f in factors]
    hashes = []
    for band in range(count):
        value = 0x9E3779B97F4A7C15
        for row in range(band * rows, (band + 1) * rows):
            value = mix(value ^ minima[row]) * 0xE7037ED1A0B428DB & _MASK
        hashes.append(value)
    return hashes


def hasher(language: str, ngram: int = 5, bands: int = 14, rows: int = 8) -> MinHasher:
    return MinHasher(language, Minhash(ngram=ngram, bands=bands, rows=rows))


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=5), LANGUAGES, st.integers(1, 6), st.integers(1, 4), st.integers(1, 3))
@example(["", "a", "a b", "!?", "漢"], "en", 3, 2, 2)
@example(["", "a", "a b", "!?", "漢"], "ja", 3, 2, 2)
def test_bands_equal_a_twin_in_plain_python(texts: list[str], language: str, ngram: int, count: int, rows: int) -> None:
    found = hasher(language, ngram, count, rows).band_hashes(texts)
    assert found.dtype == np.uint64
    assert found.shape == (len(texts), count)
    assert found.tolist() == [bands(text, language, ngram, count, rows) for text in texts]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_long_texts_equal_the_twin_too(language: str) -> None:
    """Shingles are taken in blocks of some thousands."""
    rng = random.Random(4)
    text = " ".join(rng.choices(["wort", "word", "mot", "単語"], k=10_000))
    expected = [bands(part, language, 5, 3, 1) for part in (text, "short", text[:20_000])]
    assert hasher(language, 5, 3, 1).band_hashes([text, "short", text[:20_000]]).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=8), LANGUAGES, st.data())
def test_how_texts_are_listed_changes_nothing(texts: list[str], language: str, data: st.DataObject) -> None:
    made = hasher(language)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(texts)), max_size=4)))
    pieces = [made.band_hashes(texts[start:end]) for start, end in pairwise([0, *cuts, len(texts)])]
    assert np.array_equal(np.concatenate(pieces), made.band_hashes(texts))


@pytest.mark.parametrize(
    ("language", "one", "two"),
    [
        ("en", "One two, THREE four five six!", "one  two three\nfour (five) six"),
        ("de", "STRAẞE zum See", "straße zum see"),
        ("el", "ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("ja", "猫が 好き\nです", "猫が好きです"),
        ("ja", "ＡBC　です", "ａbcです"),
    ],
)
def test_spelling_that_does_not_count(language: str, one: str, two: str) -> None:
    first, second = hasher(language, ngram=2).band_hashes([one, two])
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("language", "one", "two"),
    [
        ("ar", "مُحَمَّد", "محمد"),
        ("en", "a b c", "a b c d"),
        ("en", "ab c", "a bc"),
        ("en", "a b", "b a"),
        ("en", "!?", "?!"),
        ("en", "", "!"),
        ("ja", "猫。", "猫"),
    ],
)
def test_what_does_count(language: str, one: str, two: str) -> None:
    """Short texts are one shingle, and texts without words are not all alike."""
    first, second = hasher(language).band_hashes([one, two])
    assert not (first == second).any()


def sets(rng: random.Random, language: str, size: int, similarity: float) -> tuple[tuple[str, str], float]:
    """Two texts whose sets of single units have about the similarity, and the exact one."""
    shared = round(2 * similarity * size / (1 + similarity))
    units = rng.sample(range(8000), 2 * size - shared)
    names = [chr(0x4E00 + unit) if language == "ja" else f"w{unit}" for unit in units]
    texts = names[:size], names[size - shared :]
    return (" ".join(texts[0]), " ".join(texts[1])), shared / (2 * size - shared)


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(("size", "similarity"), [(12, 0.5), (100, 0.1), (100, 0.8), (700, 0.5), (1500, 0.95)])
def test_the_share_of_equal_minima_estimates_jaccard(language: str, size: int, similarity: float) -> None:
    """Mean J and variance J(1 - J)/k, as of k independent permutations, within four standard errors."""
    rng, functions, pairs = random.Random(size), 112, 400
    drawn = [sets(rng, language, size, similarity) for _ in range(pairs)]
    made = hasher(language, ngram=1, bands=functions, rows=1)
    one, two = (made.band_hashes([pair[side] for pair, _ in drawn]) for side in (0, 1))
    exact = drawn[0][1]
    estimates = (one == two).mean(axis=1)
    deviation = math.sqrt(exact * (1 - exact) / functions)
    assert abs(estimates.mean() - exact) < 4 * deviation / math.sqrt(pairs)
    assert abs(estimates.std() / deviation - 1) < 4 / math.sqrt(2 * pairs)


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_bands_are_shared_as_often_as_independent_rows_would_be(similarity: float) -> None:
    """Two texts share one of b bands of r rows with the probability 1 - (1 - J^r)^b."""
    rng = random.Random(7)
    drawn = [sets(rng, "en", 150, similarity) for _ in range(1500)]
    made = hasher("en", ngram=1)
    one, two = (made.band_hashes([pair[side] for pair, _ in drawn]) for side in (0, 1))
    expected = 1 - (1 - drawn[0][1] ** 8) ** 14
    error = math.sqrt(expected * (1 - expected) / len(drawn))
    assert abs((one == two).any(axis=1).mean() - expected) < 4 * error


_PRINT_BANDS = """
from palimpsest.corpus.deduplication.minhash import MinHasher
from palimpsest.settings.cleaning import Minhash
text = " ".join(f"word{n * n % 97}" for n in range(300))
print([MinHasher(l, Minhash()).band_hashes([text, "x"]).tolist() for l in ("en", "ja")])
"""


@pytest.mark.slow
def test_code_for_the_plainest_processor_gives_the_same_bits() -> None:
    outputs = set()
    for processor in ({}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}):
        ran = subprocess.run(
            [sys.executable, "-c", _PRINT_BANDS], env=os.environ | processor, capture_output=True, check=True
        )
        outputs.add(ran.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000
