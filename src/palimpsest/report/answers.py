"""The zero-shot tasks as a table: a row for each task, a column for each arm, and what guessing would get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from palimpsest.report import figures
from palimpsest.report.palette import Style
from palimpsest.report.results import Arm, Quantity, Results, Task

_SURE = 1.96  # standard errors of a 95 % interval


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One arm's score on a task: its error in small print, every stage for hovering, ``best`` as in Table 1.

    The error is the larger of the standard error over the questions and the standard deviation over seeds: all seeds
    are asked the same questions, so that their spread alone hides the luck of these. ``guessed``: guessing would get as
    much, within 1.96 errors.
    """

    style: Style
    text: str
    note: str
    history: str
    guessed: bool
    best: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    language: str
    metric: str
    chance: str
    answers: list[Answer]


def table(results: Results, styles: Mapping[str, Style]) -> list[Row]:
    """The score after the last stage; nothing where no arm was asked."""
    if not any(arm.tasks for arm in results.arms):
        return []
    return [
        Row(
            name=task.name,
            language=figures.language(task.language) if task.language else figures.NONE,
            metric=task.metric,
            chance=figures.NONE if task.chance is None else figures.loss(task.chance),
            answers=_answers(results, task, styles),
        )
        for task in results.tasks
    ]


def _answers(results: Results, task: Task, styles: Mapping[str, Style]) -> list[Answer]:
    compared = [score.mean for arm in results.arms if not arm.is_reference and (score := _final(arm, task)) is not None]
    best = figures.loss(max(compared)) if len({figures.loss(score) for score in compared}) > 1 else None
    return [_answer(results, arm, task, styles[arm.name], best) for arm in results.arms]


def _answer(results: Results, arm: Arm, task: Task, style: Style, best: str | None) -> Answer:
    score = _final(arm, task)
    if score is None:
        return Answer(style=style, text=figures.NONE, note="", history="", guessed=False, best=False)
    error = max(score.sd or 0.0, _stderr(results, arm, arm.stages[-1], task) or 0.0)
    chance = task.chance
    text = figures.loss(score.mean)
    return Answer(
        style=style,
        text=text,
        note=f"±{error:.3f}" if error else "",
        history=f"{arm.name}, {task.name}: {_history(arm, task)}",
        guessed=chance is not None and abs(score.mean - chance) <= _SURE * error,
        best=text == best and not arm.is_reference,
    )


def _final(arm: Arm, task: Task) -> Quantity | None:
    return arm.tasks.get(arm.stages[-1], {}).get(task.name) if arm.stages else None


def _stderr(results: Results, arm: Arm, stage: str, task: Task) -> float | None:
    """Over questions, of the arm's first seed."""
    _, run = results.run(arm, stage)
    found = ((run.get("tasks") or {}).get(task.name) or {}).get("stderr")
    return None if found is None else float(found)


def _history(arm: Arm, task: Task) -> str:
    scores = [(stage, score) for stage in arm.stages if (score := arm.tasks.get(stage, {}).get(task.name))]
    return ", ".join(
        f"{'untrained' if stage == 'init' else f'after {stage}'} {figures.loss(score.mean)}" for stage, score in scores
    )
