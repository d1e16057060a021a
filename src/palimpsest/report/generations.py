"""What the models write: for a language and the beginning of a text, how each arm continues it after each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from palimpsest.evaluate.results.eval_all import REFERENCE_ARM, EvalAll
from palimpsest.report import formatting
from palimpsest.report.palette import Style

_NAMES = {"init": "Untrained", REFERENCE_ARM: "All at once"}


@dataclass(kw_only=True)
class Continuation:
    """What one checkpoint wrote, and the arms that share it."""

    text: str
    styles: list[Style] = field(default_factory=list)


Stages = dict[str, list[Continuation]]
"""Name of a stage → what was written after it."""


def read(results: EvalAll, styles: Mapping[str, Style]) -> dict[str, dict[str, Stages]]:
    """Language → prompt → what every arm's first seed wrote after each stage; empty where nothing was generated.

    Arms that share a checkpoint share its continuation, so that equal texts that are shown apart were written apart.
    """
    order = ["init", *results.languages, REFERENCE_ARM]
    found: dict[str, dict[str, Stages]] = {}
    for language in results.languages:
        prompts = _prompts(results, language, styles)
        if prompts:
            found[language] = {
                prompt: {
                    _NAMES.get(stage, f"After {stage}"): list(stages[stage].values())
                    for stage in sorted(stages, key=order.index)
                }
                for prompt, stages in prompts.items()
            }
    return found


def _prompts(
    results: EvalAll, language: str, styles: Mapping[str, Style]
) -> dict[str, dict[str, dict[str, Continuation]]]:
    """Prompt → stage → lineage → what it wrote."""
    prompts: dict[str, dict[str, dict[str, Continuation]]] = {}
    for arm in results.arms:
        for path in results.first_seed_lineages(arm):
            run = results.runs[path]
            for sample in run.samples.get(language, ()):
                stage = prompts.setdefault(formatting.visible(sample.prompt), {}).setdefault(run.stage, {})
                written = Continuation(text=formatting.visible(sample.text.removeprefix(" ")))
                stage.setdefault(path, written).styles.append(styles[arm])
    return prompts
