"""The small template language in which the sample corpus is written.

``{key.form}`` is a form of a word, ``{key@who}`` its form for the gender of ``who``, ``{key:x|y}`` picks by the gender
of ``key``, ``[x|y]`` picks at random; what stands between bars may hold all of these again. A template is compiled once
to a chain of closures, so that rendering is fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Entry = Mapping[str, str]


class Scope(Protocol):
    """The context in which a template is rendered: words by key, and random choices."""

    def entry(self, key: str) -> Entry:
        """The word for ``key`` in this scene."""

    def below(self, n: int) -> int:
        """A random number in [0, n)."""


Renderer = Callable[[Scope], str]


@dataclass(frozen=True, kw_only=True)
class Template:
    """A compiled template; ``slots`` lists each (key, form) that it may ask for, form ``g`` for a choice by gender."""

    source: str
    render: Renderer
    slots: frozenset[tuple[str, str]]


def compile_template(source: str, genders: Sequence[str]) -> Template:
    """Parse ``source``; ``genders`` gives the order of the alternatives in ``{key:x|y}``. Raises ValueError."""
    parser = _Parser(source, genders)
    render = parser.sequence(stops="")
    if parser.at != len(source):
        raise ValueError(f"template {source!r}: unexpected {source[parser.at]!r} at {parser.at}")
    return Template(source=source, render=render, slots=frozenset(parser.slots))


class _Parser:
    def __init__(self, source: str, genders: Sequence[str]) -> None:
        self.source, self.at = source, 0
        self.genders = tuple(genders)
        self.slots: set[tuple[str, str]] = set()

    def sequence(self, stops: str) -> Renderer:
        """Everything up to one of ``stops``, which is left unread."""
        parts: list[Renderer] = []
        while self.at < len(self.source) and self.source[self.at] not in stops:
            char = self.source[self.at]
            if char == "{":
                parts.append(self._brace())
            elif char == "[":
                parts.append(_choice(self._alternatives("]")))
            else:
                parts.append(_literal(self._until("{[" + stops)))
        return parts[0] if len(parts) == 1 else _chain(parts)

    def _until(self, stops: str) -> str:
        start = self.at
        while self.at < len(self.source) and self.source[self.at] not in stops:
            self.at += 1
        return self.source[start : self.at]

    def _brace(self) -> Renderer:
        self.at += 1
        name = self._until(":}")
        if self._peek() == "}":
            self.at += 1
            key, at, who = name.partition("@")
            if at:
                self.slots.add((who, "g"))
                return _agreeing(key, who)
            key, _, form = name.rpartition(".")
            self.slots.add((key, form))
            return _slot(key, form)
        self.slots.add((name, "g"))
        options = self._alternatives("}")
        if len(options) != len(self.genders):
            raise ValueError(f"template {self.source!r}: {{{name}:…}} has {len(options)} forms for {self.genders}")
        return _by_gender(name, dict(zip(self.genders, options, strict=True)))

    def _alternatives(self, close: str) -> list[Renderer]:
        options: list[Renderer] = []
        while not options or self._peek() == "|":
            self.at += 1
            options.append(self.sequence(stops="|" + close))
        if self._peek() != close:
            raise ValueError(f"template {self.source!r}: {close!r} is missing")
        self.at += 1
        return options

    def _peek(self) -> str:
        return self.source[self.at : self.at + 1]


def _literal(text: str) -> Renderer:
    return lambda _scope: text


def _slot(key: str, form: str) -> Renderer:
    return lambda scope: scope.entry(key)[form]


def _agreeing(key: str, who: str) -> Renderer:
    return lambda scope: scope.entry(key)[scope.entry(who)["g"]]


def _by_gender(key: str, options: Mapping[str, Renderer]) -> Renderer:
    return lambda scope: options[scope.entry(key)["g"]](scope)


def _choice(options: Sequence[Renderer]) -> Renderer:
    return lambda scope: options[scope.below(len(options))](scope)


def _chain(parts: Sequence[Renderer]) -> Renderer:
    return lambda scope: "".join([part(scope) for part in parts])
