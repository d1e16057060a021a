"""The zero-shot tasks as a table: a row for each task, a column for each arm, and what guessing would get."""

from __future__ import annotations

from collections.abc import Mapping

from palimpsest.evaluate.results.eval_all import REFERENCE_ARM, EvalAll, TaskInfo
from palimpsest.report import formatting
from palimpsest.report.paired_seeds import clearly_lowest
from palimpsest.report.palette import Style
from palimpsest.report.tables import Body, Cell, Table, cells

_SURE = 1.96  # standard errors of a 95 % interval


def table(results: EvalAll, styles: Mapping[str, Style]) -> Table | None:
    """The scores after the last stage; None where no arm has any."""
    if not any(arm.tasks for arm in results.arms.values()):
        return None
    bodies = []
    for name, task in results.tasks.items():
        language = formatting.language(task.language) if task.language else formatting.NONE
        chance = Cell(text=formatting.NONE if task.chance is None else formatting.loss(task.chance), kind="muted")
        best = _clearly_highest(results, name)
        scores = [_score(results, arm, name, task, styles[arm], best == arm) for arm in results.arms]
        bodies.append(Body(name=name, rows=[[*cells(language, task.metric), chance, *scores]]))
    arms = [Cell(text=name, style=styles[name]) for name in results.arms]
    return Table(heads=[*cells("Task", "Language", "Metric", "Chance"), *arms], bodies=bodies, texts=3)


def _score(results: EvalAll, arm: str, name: str, task: TaskInfo, style: Style, best: bool) -> Cell:
    """The error is the larger of that over the questions, which all seeds share, and the deviation over seeds.

    A score that guessing would get as well, within 1.96 errors, is muted. Every stage is told on hovering.
    """
    score = results.arms[arm].final_tasks.get(name)
    if score is None:
        return Cell(text=formatting.NONE, style=style)
    run = results.after_stage(arm, results.arms[arm].stages[-1])
    stderr = run.tasks[name].stderr if run and name in run.tasks else None
    error = max(score.sd or 0.0, stderr or 0.0)
    guessed = task.chance is not None and abs(score.mean - task.chance) <= _SURE * error
    return Cell(
        text=formatting.loss(score.mean),
        note=f"±{error:.3f}" if error else "",
        tip=f"{arm}, {name}: {_history(results, arm, name)}",
        kind=" ".join(kind for kind, applies in (("best", best), ("guessed", guessed)) if applies),
        style=style,
    )


def _clearly_highest(results: EvalAll, task: str) -> str | None:
    """The compared arm whose scores the seeds tell from every other arm's."""
    negative: dict[str, dict[str, float]] = {}
    for name, arm in results.arms.items():
        last = {seed: results.runs[chain[-1]].tasks.get(task) for seed, chain in arm.lineages.items()}
        if name != REFERENCE_ARM and last and all(last.values()):
            negative[name] = {seed: -score.value for seed, score in last.items() if score}
    return clearly_lowest(negative)


def _history(results: EvalAll, arm: str, task: str) -> str:
    scores = [(stage, row[task]) for stage, row in results.arms[arm].tasks.items() if task in row]
    return ", ".join(
        f"{'untrained' if stage == 'init' else f'after {stage}'} {formatting.loss(score.mean)}"
        for stage, score in scores
    )
