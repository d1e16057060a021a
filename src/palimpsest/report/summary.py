"""The answer in plain words: which arm forgets, how much of that the others take away, and at what compute."""

from __future__ import annotations

from palimpsest.evaluate.results.eval_all import BASE_ARM, REFERENCE_ARM, EvalAll
from palimpsest.report import formatting

_NOTHING = 5e-4  # nats per token; three decimals are shown, and less than this would be written as 0.000


def paragraphs(results: EvalAll) -> list[str]:
    """The summary as plain text: what was done and forgotten, what each method changes, how sure that is."""
    said = [
        [_setting(results), _sequential(results)],
        _others(results),
        [_reference(results), _caution(results)],
    ]
    joined = [" ".join(sentence for sentence in sentences if sentence) for sentences in said]
    return [paragraph for paragraph in joined if paragraph]


def _setting(results: EvalAll) -> str:
    names = [_name(language) for language in results.languages]
    size = max((run.parameters for run in results.runs.values()), default=0)
    model = f"A model of {formatting.compact(size)} parameters" if size else "A model"
    order = ", then ".join(names)
    if len(names) < 2:
        return f"{model} was trained on {order or 'no language'} alone: with one language there is nothing to forget."
    return f"{model} was trained on {order}, and measured on all of them after every stage."


def _sequential(results: EvalAll) -> str:
    arm = results.arms.get(BASE_ARM)
    forgot = arm.mean_forgetting if arm else None
    if arm is None or forgot is None:
        return ""
    if forgot < _NOTHING:
        return (
            f"With nothing replayed (sequential), it forgot nothing on average: the loss on the earlier languages "
            f"changed by {formatting.signed(forgot)} nats per token from its best."
        )
    by_language = ", ".join(f"{_name(name)} {formatting.signed(value.mean)}" for name, value in arm.forgetting.items())
    return (
        f"With nothing replayed (sequential), the loss on the earlier languages ended {formatting.loss(forgot)} nats "
        f"per token on average above the best it had been ({by_language})."
    )


def _others(results: EvalAll) -> list[str]:
    base = results.arms[BASE_ARM].mean_forgetting if BASE_ARM in results.arms else None
    return [
        _other(results, name, forgot, base)
        for name, arm in results.arms.items()
        if name not in (BASE_ARM, REFERENCE_ARM) and (forgot := arm.mean_forgetting) is not None
    ]


def _other(results: EvalAll, arm: str, forgot: float, base: float | None) -> str:
    method, compute = _method(results, arm), results.relative_flops(arm)
    cost = f", at {_compute(compute)}" if compute else ""
    if base is None or base < _NOTHING:
        return f"{method} the change is {formatting.signed(forgot)} nats per token on average{cost}."
    if forgot < _NOTHING:
        return f"{method} nothing of that is left ({formatting.signed(forgot)}){cost}."
    change = "less forgetting" if forgot <= base else "more forgetting"
    share = formatting.percent(abs(1 - forgot / base))
    return f"{method} it ended {formatting.loss(forgot)} above, {share} {change}{cost}."


def _compute(times: float) -> str:
    if abs(times - 1) < 0.005:
        return "the same training compute as sequential"
    return f"{formatting.times(times)} the training compute of sequential"


def _method(results: EvalAll, arm: str) -> str:
    """How the arm trained, from the settings of its last stage."""
    run = next(reversed(results.chain(arm)), None)
    every = f"Reptile every {run.mer.interval} steps" if run and run.mer else ""
    if run and run.replay:
        rate = formatting.rate(float(run.replay_rate))
        if every:
            return f"With replay in {rate} of each batch and {every} ({arm})"
        return f"With earlier text replayed in {rate} of each batch ({arm})"
    return f"With {every} and no replay ({arm})" if every else f"With {arm}"


def _reference(results: EvalAll) -> str:
    ends = [
        f"{formatting.loss(arm.retained_loss.mean)} for {name}"
        for name, arm in results.arms.items()
        if name != REFERENCE_ARM
    ]
    if not ends:
        return ""
    over = "Averaged over all languages, the" if len(results.languages) > 1 else "The"
    said = f"{over} loss at the end is {formatting.listing(ends)}"
    if joint := results.arms.get(REFERENCE_ARM):
        loss = formatting.loss(joint.retained_loss.mean)
        said += f"; training on all languages at once, the reference, gives {loss}"
    return said + "."


def _caution(results: EvalAll) -> str:
    if results.seeds > 1:
        return f"Figures are means over {results.seeds} seeds; ± is one standard deviation."
    return "There is one seed for each arm, so how much these figures vary from run to run is not known."


def _name(language: str) -> str:
    return formatting.isolated(formatting.language(language))
