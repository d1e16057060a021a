"""What the models write: for a language and the beginning of a text, how each arm goes on after each stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from palimpsest.report import figures
from palimpsest.report.palette import Style
from palimpsest.report.results import REFERENCE, Arm, Results


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What one checkpoint wrote; ``everyone`` where it is the checkpoint of every arm that has the stage."""

    styles: list[Style] = field(default_factory=list)
    text: str
    everyone: bool = False


@dataclass(frozen=True, kw_only=True)
class Stage:
    name: str
    continuations: list[Continuation]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    text: str
    stages: list[Stage]


# prompt → stage → lineage → what it wrote, and for which arms
_Found = dict[str, dict[str, dict[str, tuple[str, list[Style]]]]]


def read(results: Results, styles: Mapping[str, Style]) -> dict[str, list[Prompt]]:
    """Language → prompts, of every arm's first seed; empty where nothing was generated.

    Arms that share a checkpoint share its continuation, so that what is there twice was written twice.
    """
    found: dict[str, list[Prompt]] = {}
    for language in results.languages:
        prompts: _Found = {}
        for arm, stage, path, prompt, text in _samples(results, language):
            at = prompts.setdefault(prompt, {}).setdefault(stage, {})
            at.setdefault(path, (text, []))[1].append(styles[arm.name])
        if prompts:
            found[language] = [_prompt(results, prompt, stages) for prompt, stages in prompts.items()]
    return found


def _samples(results: Results, language: str) -> Iterator[tuple[Arm, str, str, str, str]]:
    for arm in results.arms:
        for stage in arm.stages:
            path, run = results.run(arm, stage)
            for sample in (run.get("samples") or {}).get(language) or []:
                yield (
                    arm,
                    stage,
                    path,
                    figures.visible(sample["prompt"]),
                    figures.visible(sample["text"].removeprefix(" ")),
                )


def _prompt(results: Results, prompt: str, stages: Mapping[str, Mapping[str, tuple[str, list[Style]]]]) -> Prompt:
    order = ["init", *results.languages, REFERENCE]
    return Prompt(
        text=prompt,
        stages=[
            Stage(
                name="Untrained" if name == "init" else "All at once" if name == REFERENCE else f"After {name}",
                continuations=[
                    Continuation(styles=arms, text=text, everyone=len(written) == 1 and len(arms) > 1)
                    for text, arms in written.values()
                ],
            )
            for name, written in sorted(stages.items(), key=lambda item: order.index(item[0]))
        ],
    )
