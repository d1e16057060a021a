"""Tell a world as a story: an opening, facts about its people, scenes, and an ending that looks back."""

from __future__ import annotations

import random
import re

from palimpsest.raw.sample.lexicon import RELATIONS, Language, Step
from palimpsest.raw.sample.world import ROLES, SceneScope, World, make_world, rng

# A story ends once it has this many characters: about 80 to 250 words, and 250 to 700 characters of Japanese.
_LENGTH = {"ja": (220, 400), "ar": (450, 850)}
_DEFAULT_LENGTH = (440, 820)
_SENTENCE_START = re.compile(r"(?:^|(?<=[.!?] ))([«“„]?\s?)([a-zà-ÿ])")


def story(language: Language, *purpose: object) -> str:
    """The story that belongs to ``purpose``: paragraphs apart by a blank line, each ending in a full stop."""
    source = rng(*purpose, language.code, "story")
    world = make_world(language, source)
    told = [
        (source.randrange(2), source.choice(RELATIONS)),
        (2, source.choice(RELATIONS)),
        (3, source.choice(RELATIONS)),
    ]
    source.shuffle(told)
    paragraphs = [
        _scene(language, source, world, language.opening, shuffled=False),
        _facts(language, source, world, told),
    ]
    target = source.randint(*_LENGTH.get(language.code, _DEFAULT_LENGTH))
    for steps in source.sample(language.scenes, len(language.scenes)):
        paragraphs.append(_scene(language, source, world, steps, shuffled=True))
        if sum(map(len, paragraphs)) >= target:
            break
    ending = _scene(language, source, world, language.closing, shuffled=False)
    paragraphs.append(language.joiner.join([ending, _recall(language, source, world, told[:2])]))
    return "\n\n".join(capitalised(paragraph) for paragraph in paragraphs)


def capitalised(paragraph: str) -> str:
    """Begin every sentence with a capital (scripts without capitals are left alone)."""
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), paragraph)


def _scene(language: Language, source: random.Random, world: World, steps: tuple[Step, ...], *, shuffled: bool) -> str:
    cast = list(world.cast)
    if shuffled and source.random() < 0.5:
        source.shuffle(cast)
    scope = SceneScope(language, source, dict(zip(ROLES, cast, strict=True)))
    chosen = [step[scope.below(len(step))] for step in steps]
    return language.joiner.join([template.render(scope) for template in chosen if template])


def _facts(language: Language, source: random.Random, world: World, told: list[tuple[int, str]]) -> str:
    sentences = []
    for person, relation in told:
        scope = SceneScope(language, source, {"p": world.cast[person]})
        statements = language.facts[relation].statements
        sentences.append(statements[scope.below(len(statements))].render(scope))
    return language.joiner.join(sentences)


def _recall(language: Language, source: random.Random, world: World, told: list[tuple[int, str]]) -> str:
    """Say facts again in the words in which questions are asked, so that a reader can learn to look back."""
    sentences = []
    for person, relation in told:
        scope = SceneScope(language, source, {"p": world.cast[person]})
        questions = language.facts[relation].questions
        beginning, answer = questions[scope.below(len(questions))]
        sentences.append(beginning.render(scope) + language.asker + answer.render(scope) + language.stop)
    return language.joiner.join(sentences)
