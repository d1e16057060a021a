"""The planted flaws: duplicates, near duplicates and junk of several kinds."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from palimpsest.raw.sample.lexicon import Language
from palimpsest.raw.sample.story import story

_LOREM = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna "
    "aliqua ut enim ad minim veniam quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat"
).split()
_SYMBOLS = "#@%&*=+~^<>/\\|$§_-…•"
# A changed word changes five five-word shingles, so two changes in a shorter text would lower its similarity too much.
_WORDS_FOR_TWO_EDITS = 150
_CHARACTERS_FOR_TWO_EDITS = 400


def respaced(text: str, rng: random.Random) -> str:
    """The same words: byte-identical, or with different line ends or spaces."""
    changes: list[Callable[[str], str]] = [
        lambda same: same,
        lambda same: same.replace("\n", "\r\n"),
        lambda same: same.replace("\n\n", " \n\n") + "\n",
        lambda same: "  " + same.replace("\n\n", "\n\n\n") + "\n\n",
    ]
    return rng.choice(changes)(text)


def edited(language: Language, text: str, rng: random.Random) -> str:
    """The text with one or two words changed; five-word (Japanese: five-character) Jaccard stays at 0.85 or more."""
    japanese = language.code == "ja"
    words = list(
        re.finditer(r"(?<=[、。])[^\s、。「」]{3,10}(?=[、。])" if japanese else r"(?<= )[^\W\d_]+(?= )", text)
    )
    long = len(text) >= _CHARACTERS_FOR_TWO_EDITS if japanese else len(text.split()) >= _WORDS_FOR_TWO_EDITS
    chosen = sorted(rng.sample(words, rng.randint(1, 2) if long else 1), key=lambda word: -word.start())
    for word in chosen:
        new = rng.choice([other[0] for other in words if other[0] != word[0]])
        text = text[: word.start()] + new + text[word.end() :]
    return text


def junk(language: Language, rng: random.Random, *purpose: object) -> str:
    """Text that cleaning should drop."""
    kind = rng.choice((_noise, _menu, _repeated, _lorem, _script, _symbols, _short))
    return kind(language, rng, story(language, *purpose))


def _noise(language: Language, rng: random.Random, _text: str) -> str:
    words = ("".join(rng.choices(language.keyboard, k=rng.randint(11, 26))) for _ in range(rng.randint(40, 90)))
    return " ".join(words)


def _menu(language: Language, rng: random.Random, _text: str) -> str:
    lines = [" | ".join(rng.sample(language.menu, rng.randint(1, 3))) for _ in range(rng.randint(15, 40))]
    return "\n".join(lines)


def _repeated(_language: Language, rng: random.Random, text: str) -> str:
    sentence = re.split(r"(?<=[.。!?])", text)[0].strip()
    return "\n".join([sentence] * rng.randint(10, 30))


def _lorem(_language: Language, rng: random.Random, _text: str) -> str:
    sentences = (" ".join(rng.sample(_LOREM, 12)).capitalize() + "." for _ in range(rng.randint(6, 14)))
    return "Lorem ipsum dolor sit amet. " + " ".join(sentences)


def _script(language: Language, rng: random.Random, _text: str) -> str:
    lines = [
        f"function f{rng.randint(10, 999)}(e) {{ var x{rng.randint(10, 999)} = e.target.value; "
        f"if (x > {rng.randint(2, 99)}) {{ document.getElementById('{rng.choice(_LOREM)}').hide(); }} }}"
        for _ in range(rng.randint(6, 16))
    ]
    return "\n".join([f"<script type='text/javascript'> // {rng.choice(language.menu)}", *lines, "</script>"])


def _symbols(_language: Language, rng: random.Random, text: str) -> str:
    words = text.split()[:60]
    return " ".join(
        f"{word[:8]} {''.join(rng.choices(_SYMBOLS, k=rng.randint(3, 9)))} {rng.randint(1, 9999)} # …" for word in words
    )


def _short(_language: Language, rng: random.Random, text: str) -> str:
    sentences = re.split(r"(?<=[.。!?]) ?", text.split("\n\n")[-1])
    return rng.choice([sentence for sentence in sentences if sentence] or [text[:30]])
