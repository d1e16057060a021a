"""Cloze questions with known answers about small worlds, in the same words as the stories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from palimpsest.raw.sample.lexicon import RELATIONS, language
from palimpsest.raw.sample.story import capitalised
from palimpsest.raw.sample.world import SceneScope, make_world, rng


def cloze_questions(language_code: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield ``count`` questions: ``id``, ``context``, ``question`` (a beginning), four ``choices``, ``answer`` (index).

    The context says of four people, in any order, which value of one relation each has; the choices are those values,
    so that only who has which tells them apart. Question i depends on (seed, language, i) alone.
    """
    for index in range(count):
        yield _question(language_code, seed, index)


def _question(code: str, seed: int, index: int) -> dict[str, Any]:
    lang, source = language(code), rng(seed, code, "cloze", index)
    world = make_world(lang, source)
    relation = source.choice(RELATIONS)
    fact = lang.facts[relation]
    sentences = []
    for person in world.cast:
        scope = SceneScope(lang, source, {"p": person})
        sentences.append(source.choice(fact.statements).render(scope))
    source.shuffle(sentences)
    scope = SceneScope(lang, source, {"p": world.cast[0]})
    beginning, completion = source.choice(fact.questions)
    question = capitalised(beginning.render(scope))
    choices = []
    for person in world.cast:
        scope.replace(f"p.{relation}", person.facts[relation])
        choices.append(completion.render(scope))
    right = choices[0]
    source.shuffle(choices)
    return {
        "id": f"{code}-cloze-{index:06d}",
        "context": capitalised(lang.joiner.join(sentences)),
        "question": question,
        "choices": choices,
        "answer": choices.index(right),
    }
