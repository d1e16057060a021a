"""Cloze questions with known answers about small worlds, worded like the stories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from palimpsest.raw.sample.lexicon import RELATIONS, language
from palimpsest.raw.sample.story import capitalised
from palimpsest.raw.sample.world import SceneScope, make_world, seeded_random


def cloze_questions(language_code: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield ``count`` questions: ``id``, ``context``, ``question`` (a beginning), four ``choices``, ``answer`` (index).

    The context states one relation of four people, in any order; the choices are its four values, so that only the
    person decides between them. Question i depends on (seed, language, i) alone.
    """
    for index in range(count):
        yield _question(language_code, seed, index)


def _question(code: str, seed: int, index: int) -> dict[str, Any]:
    lang, rng = language(code), seeded_random(seed, code, "cloze", index)
    world = make_world(lang, rng)
    relation = rng.choice(RELATIONS)
    fact = lang.facts[relation]
    sentences = []
    for person in world.cast:
        scope = SceneScope(lang, rng, {"p": person})
        sentences.append(rng.choice(fact.statements).render(scope))
    rng.shuffle(sentences)
    scope = SceneScope(lang, rng, {"p": world.cast[0]})
    beginning, completion = rng.choice(fact.questions)
    question = capitalised(beginning.render(scope))
    choices = []
    for person in world.cast:
        scope.replace(f"p.{relation}", person.facts[relation])
        choices.append(completion.render(scope))
    right = choices[0]
    rng.shuffle(choices)
    return {
        "id": f"{code}-cloze-{index:06d}",
        "context": capitalised(lang.joiner.join(sentences)),
        "question": question,
        "choices": choices,
        "answer": choices.index(right),
    }
