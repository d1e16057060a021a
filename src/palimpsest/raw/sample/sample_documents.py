"""The stream of sample documents with its ground truth: which are clean, and which flaw each other one has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from palimpsest.raw.sample.flaws import edited, junk, respaced
from palimpsest.raw.sample.lexicon import LANGUAGES, language
from palimpsest.raw.sample.story import story
from palimpsest.raw.sample.world import seeded_random

# Flaw → documents with it, per thousand.
_SHARES = {"exact_duplicate": 30, "near_duplicate": 30, "junk": 40, "wrong_language": 20}
_KINDS = tuple(kind for kind, share in _SHARES.items() for _ in range(share))


@dataclass(frozen=True, kw_only=True)
class SampleDocument:
    """A document and its ground truth.

    ``truth`` is clean, exact_duplicate (white space aside), near_duplicate, junk or wrong_language; ``of`` is the id of
    the original of a duplicate, which came earlier and is clean, or the language that a wrong_language document is in.
    """

    id: str
    text: str
    truth: str
    of: str | None = None


def sample_documents(language_code: str, count: int, seed: int) -> Iterator[SampleDocument]:
    """Yield ``count`` documents in constant memory. Document i depends on (seed, language, i) alone."""
    for index in range(count):
        yield _document(language_code, seed, index)


def _document(code: str, seed: int, index: int) -> SampleDocument:
    lang, rng = language(code), seeded_random(seed, code, "flaw", index)
    name, truth = _name(code, index), _truth(code, seed, index)
    if truth == "clean":
        return SampleDocument(id=name, text=_clean(code, seed, index), truth=truth)
    if truth == "junk":
        return SampleDocument(id=name, text=junk(lang, rng, seed, "junk", index), truth=truth)
    if truth == "wrong_language":
        other = rng.choice([known for known in LANGUAGES if known != code])
        return SampleDocument(id=name, text=story(language(other), seed, code, "wrong", index), truth=truth, of=other)
    original = rng.randrange(index)
    while _truth(code, seed, original) != "clean":
        original -= 1
    text = _clean(code, seed, original)
    changed = respaced(text, rng) if truth == "exact_duplicate" else edited(lang, text, rng)
    return SampleDocument(id=name, text=changed, truth=truth, of=_name(code, original))


def _clean(code: str, seed: int, index: int) -> str:
    return story(language(code), seed, index)


def _name(code: str, index: int) -> str:
    return f"{code}-{index:06d}"


def _truth(code: str, seed: int, index: int) -> str:
    """The first document is clean, so that every duplicate has an original before it."""
    draw = seeded_random(seed, code, "truth", index).randrange(1000)
    return _KINDS[draw] if index and draw < len(_KINDS) else "clean"
