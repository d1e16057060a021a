"""Stories about a world: an opening, facts about its people, scenes, and an ending that recalls them."""

from __future__ import annotations

import random
import re

from palimpsest.raw.sample.lexicon import RELATIONS, Language, Step
from palimpsest.raw.sample.world import ROLES, SceneScope, World, make_world, seeded_random

# A story ends once it has this many characters: about 80 to 250 words, and 250 to 700 characters of Japanese.
_LENGTH = {"ja": (220, 400), "ar": (450, 850)}
_DEFAULT_LENGTH = (440, 820)
_SENTENCE_START = re.compile(r"(?:^|(?<=[.!?] ))([«“„]?\s?)([a-zà-ÿ])")


def story(language: Language, *purpose: object) -> str:
    """The story that belongs to ``purpose``: paragraphs separated by blank lines, each ending in a full stop."""
    rng = seeded_random(*purpose, language.code, "story")
    world = make_world(language, rng)
    stated = [
        (rng.randrange(2), rng.choice(RELATIONS)),
        (2, rng.choice(RELATIONS)),
        (3, rng.choice(RELATIONS)),
    ]
    rng.shuffle(stated)
    paragraphs = [
        _scene(language, rng, world, language.opening, shuffled=False),
        _facts(language, rng, world, stated),
    ]
    target = rng.randint(*_LENGTH.get(language.code, _DEFAULT_LENGTH))
    for steps in rng.sample(language.scenes, len(language.scenes)):
        paragraphs.append(_scene(language, rng, world, steps, shuffled=True))
        if sum(map(len, paragraphs)) >= target:
            break
    ending = _scene(language, rng, world, language.closing, shuffled=False)
    paragraphs.append(language.joiner.join([ending, _recall(language, rng, world, stated[:2])]))
    return "\n\n".join(capitalised(paragraph) for paragraph in paragraphs)


def capitalised(paragraph: str) -> str:
    """Begin every sentence with a capital (scripts without capitals are left alone)."""
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), paragraph)


def _scene(language: Language, rng: random.Random, world: World, steps: tuple[Step, ...], *, shuffled: bool) -> str:
    cast = list(world.cast)
    if shuffled and rng.random() < 0.5:
        rng.shuffle(cast)
    scope = SceneScope(language, rng, dict(zip(ROLES, cast, strict=True)))
    chosen = [step[scope.below(len(step))] for step in steps]
    return language.joiner.join([template.render(scope) for template in chosen if template])


def _facts(language: Language, rng: random.Random, world: World, stated: list[tuple[int, str]]) -> str:
    sentences = []
    for person, relation in stated:
        scope = SceneScope(language, rng, {"p": world.cast[person]})
        statements = language.facts[relation].statements
        sentences.append(statements[scope.below(len(statements))].render(scope))
    return language.joiner.join(sentences)


def _recall(language: Language, rng: random.Random, world: World, stated: list[tuple[int, str]]) -> str:
    """Repeat facts in the words of the cloze questions, so that a model can learn to recall them."""
    sentences = []
    for person, relation in stated:
        scope = SceneScope(language, rng, {"p": world.cast[person]})
        questions = language.facts[relation].questions
        beginning, answer = questions[scope.below(len(questions))]
        sentences.append(beginning.render(scope) + language.asker + answer.render(scope) + language.stop)
    return language.joiner.join(sentences)
