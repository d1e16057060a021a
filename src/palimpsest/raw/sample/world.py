"""The world model: four people, the facts about each of them, and the words that the templates of a scene can use.

Worlds have the same structure in every language and nothing else in common.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palimpsest.raw.sample.lexicon import RELATIONS, Language
from palimpsest.raw.sample.template import Entry

ROLES = ("a", "b", "c", "d")


def seeded_random(*purpose: object) -> random.Random:
    """A random generator that depends on ``purpose`` alone, the same on every machine and in every process."""
    digest = hashlib.sha256("/".join(map(str, purpose)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True, kw_only=True)
class Person:
    """A name, and the facts about this person by relation."""

    name: Entry
    facts: Mapping[str, Entry]


@dataclass(frozen=True, kw_only=True)
class World:
    """The cast; no two of its people share a name or the value of any relation."""

    cast: tuple[Person, ...]


def make_world(language: Language, rng: random.Random) -> World:
    """Draw a world from ``rng``."""
    drawn = {key: rng.sample(language.tables[key], len(ROLES)) for key in ("name", *RELATIONS)}
    return World(
        cast=tuple(
            Person(name=drawn["name"][i], facts={relation: drawn[relation][i] for relation in RELATIONS})
            for i in range(len(ROLES))
        )
    )


class SceneScope:
    """The words of one scene: people by role, ``a.thing`` for facts about them; others are drawn on first use.

    ``place``, ``place2``, ``place3`` are different words of the table ``place``; ``ab`` has the gender of the pair.
    """

    def __init__(self, language: Language, rng: random.Random, people: Mapping[str, Person]) -> None:
        self._tables, self._random = language.tables, rng.random
        self._bound: dict[str, Entry] = {}
        for role, person in people.items():
            self._bound[role] = person.name
            for relation, value in person.facts.items():
                self._bound[f"{role}.{relation}"] = value
        if "b" in people:
            both = {people[role].name["g"] for role in "ab"}
            self._bound["ab"] = {"g": "f" if both == {"f"} else "m"}

    def replace(self, key: str, value: Entry) -> None:
        """Bind ``key`` to ``value``."""
        self._bound[key] = value

    def entry(self, key: str) -> Entry:
        """The word for ``key`` in this scene."""
        found = self._bound.get(key)
        if found is None:
            found = self._bound[key] = self._draw(key)
        return found

    def below(self, n: int) -> int:
        """A random number in [0, n)."""
        return int(self._random() * n)

    def _draw(self, key: str) -> Entry:
        table: Sequence[Entry] = self._tables[key.rstrip("23")]
        while True:
            drawn = table[self.below(len(table))]
            if not any(drawn is other for other in self._bound.values()):
                return drawn
