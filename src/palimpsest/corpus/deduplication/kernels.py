"""The compiled loops of the corpus stage: text to units, units to shingles, shingles to signatures, keys to clusters.

All in one file, since numba's cache notices an edit of a function's own file only. Integers alone, each step fixed by
this code, so that every processor gives the same bits. The first call of a function compiles it (seconds) and writes
the machine code to ``__pycache__``, to the user's cache folder where that is read-only, or to NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Codes = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Documents = NDArray[np.uint32] | NDArray[np.uint64]
Index = int | np.int64
Function = TypeVar("Function", bound=Callable[..., Any])

# Odd numbers without pattern. As uint64 like the hashes, since mixed types would make numba compute in floats.
_SEED, _CHARACTER, _UNIT, _ROW = map(
    np.uint64, (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32, _63, _ONE, _ZERO = map(np.uint64, (27, 30, 31, 32, 63, 1, 0))
_31_BITS = np.uint64(0x7FFFFFFF)
_BLOCK = 4096
_NO_MINIMUM = np.uint32(0xFFFFFFFF)


def _compiled(function: Function) -> Function:
    """numba's njit, cached on disk where any folder for it can be written."""
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        _warn_of_recompilation()
        return cast(Function, numba.njit(nogil=True)(function))


@cache
def _warn_of_recompilation() -> None:
    logger.warning(
        "no cache folder for compiled code is writable, so every process compiles again for some seconds: "
        "set NUMBA_CACHE_DIR to a writable folder"
    )


@_compiled
def mix(value: np.uint64) -> np.uint64:
    """Mix every bit into all 64: the finaliser of splitmix64 (Steele et al. 2014), a bijection."""
    value = (value ^ (value >> _30)) * _MIX_1
    value = (value ^ (value >> _27)) * _MIX_2
    return value ^ (value >> _31)


@_compiled
def hash_words(codes: Codes, table: Codes, units: Hashes) -> Index:
    """Write a hash of each maximal run of characters that are not 0 in ``table``, and return their number.

    Without branches, which processors mispredict at the end of every word: a slot is overwritten until its word ends.
    ``units`` has room for one hash at least, even if there are no ``codes``.
    """
    count, inside, value = np.int64(0), np.int64(0), _SEED
    for code in codes:
        character = np.uint64(table[code])
        in_word = np.int64(character != _ZERO)
        units[count] = value
        count += inside & (in_word ^ 1)
        value = (value ^ character) * _CHARACTER if in_word else _SEED
        inside = in_word
    units[count] = value
    count += inside
    for at in range(count):
        units[at] = mix(units[at])
    return count


@_compiled
def hash_characters(codes: Codes, table: Codes, units: Hashes) -> Index:
    """Write a hash of each character that is not 0 in ``table``, and return their number."""
    count = 0
    for code in codes:
        character = table[code]
        if character:
            units[count] = mix(np.uint64(character))
            count += 1
    return count


@_compiled
def hash_shingles(units: Hashes, size: Index, out: Hashes) -> Index:
    """Write a hash of each shingle of ``size`` units, a rolling polynomial that is mixed, and return their number.

    ``out`` may be the memory of ``units`` from one element before it: what is overwritten was read.
    """
    power = _ONE
    for _ in range(size):
        power *= _UNIT
    value = _ZERO
    for at in range(len(units)):
        value = value * _UNIT + units[at]
        if at >= size:
            value -= units[at - size] * power
        if at >= size - 1:
            out[at - size + 1] = mix(value)
    return max(len(units) - size + 1, 0)


@_compiled
def minhash_signature(shingles: Hashes, factors: Codes, minima: Codes) -> None:
    """Write the minimum of factor · high half + low half (mod 2^32) over all shingles, for each factor.

    For a uniform 64-bit hash every such value is uniform, and any two of them are independent (but for the few low
    bits that the factors' difference lacks). So the fraction of equal minima of two sets has mean J and variance
    J(1 - J)/k of k independent permutations.
    """
    high, low = np.empty(_BLOCK, np.uint32), np.empty(_BLOCK, np.uint32)
    minima[:] = _NO_MINIMUM
    for start in range(0, len(shingles), _BLOCK):
        count = min(_BLOCK, len(shingles) - start)
        for at in range(count):
            high[at], low[at] = shingles[start + at] >> _32, shingles[start + at]
        # Two factors at a time, since reading the halves costs as much as working on them.
        for one in range(0, len(factors), 2):
            two = min(one + 1, len(factors) - 1)
            factor_one, factor_two = factors[one], factors[two]
            least_one, least_two = minima[one], minima[two]
            for at in range(count):
                least_one = min(least_one, np.uint32(factor_one * high[at] + low[at]))
                least_two = min(least_two, np.uint32(factor_two * high[at] + low[at]))
            minima[one], minima[two] = least_one, least_two


@_compiled
def band_hashes(
    codes: Codes, ends: NDArray[np.int64], word: Codes, visible: Codes, size: int, factors: Codes, out: Hashes
) -> None:
    """Write a row of band hashes for each text. Units are words, or characters where ``word`` is empty.

    A text of fewer than ``size`` units is one shingle of all of them; one without words is compared by its characters,
    since all such texts would be equal otherwise.
    """
    longest = 0
    for text in range(len(ends)):
        longest = max(longest, ends[text] - (ends[text - 1] if text else 0))
    shingles = np.empty(longest + 2, np.uint64)
    units = shingles[1:]
    minima = np.empty(len(factors), np.uint32)
    rows = len(factors) // out.shape[1]
    for text in range(len(ends)):
        piece = codes[ends[text - 1] if text else 0 : ends[text]]
        count = hash_words(piece, word, units) if len(word) else 0
        if not count:
            count = hash_characters(piece, visible, units)
        shingles[0] = _ZERO
        found = max(hash_shingles(units[:count], min(size, count), shingles), 1)
        minhash_signature(shingles[:found], factors, minima)
        for band in range(out.shape[1]):
            value = _SEED
            for row in range(band * rows, (band + 1) * rows):
                value = mix(value ^ np.uint64(minima[row])) * _ROW
            out[text, band] = value


@_compiled
def shingle_hashes(
    codes: Codes,
    ends: NDArray[np.int64],
    table: Codes,
    spaced: bool,
    size: int,
    out: Hashes,
    out_ends: NDArray[np.int64],
) -> None:
    """Write the hashes of all shingles of ``size`` units of all texts, concatenated, and the end offset of each text.

    ``out`` has room for a hash a character.
    """
    units = np.empty(len(codes) + 1, np.uint64)
    at: Index = 0
    for text in range(len(ends)):
        piece = codes[ends[text - 1] if text else 0 : ends[text]]
        count = hash_words(piece, table, units) if spaced else hash_characters(piece, table, units)
        at += hash_shingles(units[:count], size, out[at:])
        out_ends[text] = at


@_compiled
def fill_filter(known: Hashes, bits: Hashes) -> None:
    """Set the bit of each known hash in ``bits``, whose length is a power of two."""
    mask = len(bits) - 1
    for value in known:
        bits[np.int64(value >> _32) & mask] |= _ONE << (value & _63)


@_compiled
def any_known(hashes: Hashes, ends: NDArray[np.int64], known: Hashes, bits: Hashes, out: NDArray[np.bool_]) -> None:
    """Write for each text whether one of its hashes is in the sorted ``known``. The filter rules out most of them."""
    mask = len(bits) - 1
    for text in range(len(ends)):
        out[text] = False
        for at in range(ends[text - 1] if text else 0, ends[text]):
            value = hashes[at]
            if bits[np.int64(value >> _32) & mask] >> (value & _63) & _ONE and _holds(known, value):
                out[text] = True
                break


@_compiled
def _holds(known: Hashes, value: np.uint64) -> bool:
    low, high = 0, len(known)
    while low < high:
        middle = (low + high) // 2
        if known[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(known) and known[low] == value


@_compiled
def find_root(parents: Documents, at: Index) -> Index:
    """The first document of a document's cluster; compresses the path to it."""
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = np.int64(parents[at])
    return at


@_compiled
def join_clusters(
    rows: Hashes,
    first: int,
    verdicts: NDArray[np.uint8],
    passes: int,
    number: int,
    table: Hashes,
    owners: Documents,
    parents: Documents,
) -> None:
    """Join the clusters of documents with equal keys; ``rows`` are the keys of document ``first`` and those after it.

    Only keys that belong to pass ``number`` of ``passes``, and only documents without a verdict. ``table`` and
    ``owners`` are a hash table with open addressing: a key, and 1 + the first document that has it, 0 in a free slot.
    """
    mask = len(owners) - 1
    for row in range(len(rows)):
        document = first + row
        value = mix(rows[row, 0])
        if verdicts[document] or np.int64(((value >> _32) * np.uint64(passes)) >> _32) != number:
            continue
        slot = np.int64(value & _31_BITS) & mask
        while owners[slot] and not _equal(table, slot, rows, row):
            slot = (slot + 1) & mask
        if owners[slot]:
            one, other = find_root(parents, np.int64(owners[slot]) - 1), find_root(parents, document)
            parents[max(one, other)] = min(one, other)
        else:
            table[slot] = rows[row]
            owners[slot] = document + 1


@_compiled
def _equal(table: Hashes, slot: Index, rows: Hashes, row: int) -> bool:
    same = True
    for column in range(rows.shape[1]):
        same &= table[slot, column] == rows[row, column]
    return same


@_compiled
def mark_duplicates(parents: Documents, verdicts: NDArray[np.uint8], code: int) -> None:
    """Write ``code`` for all documents but the first of each cluster."""
    for at in range(len(parents)):
        if parents[at] != at:
            verdicts[at] = code
