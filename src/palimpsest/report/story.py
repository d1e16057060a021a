"""The answer in plain words: which arm forgets, how much of that the others take away, and at what compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palimpsest.report import figures
from palimpsest.report.results import Arm, Results

_NOTHING = 5e-4  # nats per token; three decimals are shown, and less than this would be written as 0.000


def paragraphs(results: Results) -> list[str]:
    """The summary as plain text: what was done and forgotten, what each method changes, how sure that is."""
    said = [
        [_setting(results), _sequential(results)],
        _others(results),
        [_reference(results), _caution(results)],
    ]
    joined = [" ".join(sentence for sentence in sentences if sentence) for sentences in said]
    return [paragraph for paragraph in joined if paragraph]


def _setting(results: Results) -> str:
    names = [_name(language) for language in results.languages]
    size = max((run.get("parameters") or 0 for run in _runs(results).values()), default=0)
    model = f"A model of {figures.compact(size)} parameters" if size else "A model"
    order = ", then ".join(names)
    if len(names) < 2:
        return f"{model} was trained on {order or 'no language'} alone: with one language there is nothing to forget."
    return f"{model} was trained on {order}, and measured on all of them after every stage."


def _sequential(results: Results) -> str:
    arm = results.arm("sequential")
    forgot = arm.mean_forgetting if arm else None
    if arm is None or forgot is None:
        return ""
    if forgot < _NOTHING:
        return (
            f"With nothing replayed (sequential), it forgot nothing on average: the loss on the earlier languages "
            f"changed by {figures.signed(forgot)} nats per token from its best."
        )
    return (
        f"With nothing replayed (sequential), the loss on the earlier languages ended {figures.loss(forgot)} nats per "
        f"token on average above the best it had been ({_by_language(arm)})."
    )


def _others(results: Results) -> list[str]:
    sequential = results.arm("sequential")
    base = sequential.mean_forgetting if sequential else None
    return [
        _other(results, arm, base)
        for arm in results.arms
        if arm.name != "sequential" and not arm.is_reference and arm.mean_forgetting is not None
    ]


def _other(results: Results, arm: Arm, base: float | None) -> str:
    forgot = arm.mean_forgetting or 0.0
    method, compute = _method(results, arm), results.compute(arm)
    cost = f", at {_compute(compute)}" if compute else ""
    if base is None or base < _NOTHING:
        return f"{method} the change is {figures.signed(forgot)} nats per token on average{cost}."
    if forgot < _NOTHING:
        return f"{method} nothing of that is left ({figures.signed(forgot)}){cost}."
    change = "less forgetting" if forgot <= base else "more forgetting"
    share = figures.percent(abs(1 - forgot / base))
    return f"{method} it ended {figures.loss(forgot)} above, {share} {change}{cost}."


def _compute(times: float) -> str:
    same = abs(times - 1) < 0.005
    return (
        "the same training compute as sequential"
        if same
        else f"{figures.times(times)} the training compute of sequential"
    )


def _method(results: Results, arm: Arm) -> str:
    """How the arm trained, from the recipe of its last stage."""
    path = next((chain[-1] for chain in arm.lineages.values() if chain), "")
    run = _runs(results).get(path) or {}
    replay, mer = run.get("replay"), run.get("mer")
    name, rate = arm.name, figures.rate(arm.rate(arm.stages[-1])) if replay else ""
    if replay and mer:
        return f"With replay in {rate} of each batch and Reptile every {mer.get('interval')} steps ({name})"
    if replay:
        return f"With earlier text replayed in {rate} of each batch ({name})"
    if mer:
        return f"With Reptile every {mer.get('interval')} steps and no replay ({name})"
    return f"With {name}"


def _reference(results: Results) -> str:
    joint = next((arm for arm in results.arms if arm.is_reference and arm.retained), None)
    others = [arm for arm in results.arms if not arm.is_reference and arm.retained]
    if not others:
        return ""
    ends = [f"{figures.loss(arm.retained.mean)} for {arm.name}" for arm in others if arm.retained]
    over = "Averaged over all languages, the" if len(results.languages) > 1 else "The"
    said = f"{over} loss at the end is {figures.listing(ends)}"
    if joint and joint.retained:
        said += f"; training on all languages at once, the reference, gives {figures.loss(joint.retained.mean)}"
    return said + "."


def _caution(results: Results) -> str:
    if results.seeds > 1:
        return f"Figures are means over {results.seeds} seeds; ± is one standard deviation."
    return "There is one seed for each arm, so how much these figures vary from run to run is not known."


def _by_language(arm: Arm) -> str:
    parts = [f"{_name(name)} {figures.signed(value.mean)}" for name, value in arm.forgetting.items()]
    return ", ".join(parts)


def _name(language: str) -> str:
    return figures.isolated(figures.language(language))


def _runs(results: Results) -> Mapping[str, Mapping[str, Any]]:
    return results.raw.get("runs") or {}
