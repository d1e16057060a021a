"""Reads a language file: its words with all inflected forms, its scenes and its facts.

A table of words lists its entries by class (gender, elision …); the paradigm of the class spells out the forms, so that
no form is guessed. A scene is a list of steps, and a step a list of templates of which one is used; ``-`` means none.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from palimpsest.raw.sample.template import Entry, Template, compile_template

LANGUAGES = ("en", "fr", "de", "ar", "ja")
# The facts that a story states about a person; the words of each relation are in the table of the same name.
RELATIONS = ("trade", "town", "colour", "animal", "food", "drink", "thing", "hobby")

Step = tuple[Template | None, ...]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """How a relation of person ``p`` is stated and asked: (beginning of a sentence, its completion)."""

    statements: tuple[Template, ...]
    questions: tuple[tuple[Template, Template], ...]


@dataclass(frozen=True, kw_only=True)
class Language:
    """The contents of a language file. ``joiner`` separates sentences, ``asker`` question and answer."""

    code: str
    joiner: str
    asker: str
    stop: str
    tables: Mapping[str, tuple[Entry, ...]]
    opening: tuple[Step, ...]
    closing: tuple[Step, ...]
    scenes: tuple[tuple[Step, ...], ...]
    facts: Mapping[str, Fact]
    menu: tuple[str, ...]
    keyboard: str


@functools.cache
def language(code: str) -> Language:
    """The language with a code of LANGUAGES."""
    text = resources.files(__package__).joinpath(f"{code}.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    genders = data["genders"]
    scenes = {name: _steps(steps, genders) for name, steps in data["scenes"].items()}
    return Language(
        code=code,
        joiner=data["joiner"],
        asker=data["asker"],
        stop=data["stop"],
        tables={name: _table(table, data["paradigms"]) for name, table in data["lexicon"].items()},
        opening=scenes.pop("opening"),
        closing=scenes.pop("closing"),
        scenes=tuple(scenes.values()),
        facts={name: _fact(fact, genders) for name, fact in data["facts"].items()},
        menu=tuple(_lines(data["menu"])),
        keyboard=data["keyboard"],
    )


def _lines(block: str) -> list[str]:
    return [line.strip() for line in block.splitlines() if line.strip()]


def _table(table: Mapping[str, Any], paradigms: Mapping[str, Mapping[str, Entry]]) -> tuple[Entry, ...]:
    paradigm = paradigms.get(table.get("paradigm", ""), {})
    entries: list[Entry] = []
    for word_class, rows in table["rows"].items():
        for row in rows.replace("\n", " | ").split("|"):
            if row.strip():
                fields = [field.strip() for field in row.split(",")]
                base = dict(zip(table["columns"], fields, strict=True))
                derived = {form: rule.format(**base) for form, rule in paradigm.get(word_class, {}).items()}
                entries.append({"g": word_class, **base, **derived})
    return tuple(entries)


def _steps(steps: list[str], genders: list[str]) -> tuple[Step, ...]:
    return tuple(
        tuple(None if line == "-" else compile_template(line, genders) for line in _lines(step)) for step in steps
    )


def _fact(fact: Mapping[str, str], genders: list[str]) -> Fact:
    questions = [line.split("=>") for line in _lines(fact["ask"])]
    return Fact(
        statements=tuple(compile_template(line, genders) for line in _lines(fact["state"])),
        questions=tuple(
            (compile_template(beginning.strip(), genders), compile_template(answer.strip(), genders))
            for beginning, answer in questions
        ),
    )
