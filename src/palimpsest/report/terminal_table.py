"""The short table that the terminal shows when the main job is done."""

from __future__ import annotations

from palimpsest.evaluate.results.eval_all import BASE_ARM, EvalAll
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.report import formatting

_NAME = 12  # characters of an arm's name
_GAP = "  "


def headline(results: EvalAll) -> str:
    """Aligned text: a line for each arm, within 100 columns for three languages.

    Losses and forgetting are nats per token; ± is the standard deviation over seeds, where there are several.
    """
    groups = {"": ["arm"], "final loss": [*results.languages], "forgetting": results.forgettable,
              "training": ["tokens", "FLOPs"]}  # fmt: skip
    groups = {title: columns for title, columns in groups.items() if columns}
    heads = [formatting.shorten(head, _NAME) for columns in groups.values() for head in columns]
    rows = [heads, *(_cells(results, name) for name in results.arms)]
    widths, titles, end = [max(map(len, column)) for column in zip(*rows, strict=True)], [], 0
    for title, columns in groups.items():  # the last column of a group makes room for a title wider than all of them
        start, end = end, end + len(columns)
        span = sum(widths[start:end]) + len(_GAP) * (len(columns) - 1)
        widths[end - 1] += max(0, len(title) - span)
        titles.append(title.rjust(max(span, len(title))))
    lines = [_GAP.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join([_GAP.join(titles).rstrip(), *lines, _note(results)])


def _cells(results: EvalAll, name: str) -> list[str]:
    arm, relative = results.arms[name], results.relative_flops(name)
    return [
        formatting.shorten(name, _NAME),
        *(_mean(arm.final_loss.get(language), signed=False) for language in results.languages),
        *(_mean(arm.forgetting.get(language), signed=True) for language in results.forgettable),
        formatting.compact(arm.tokens.total).replace("\u202f", " "),
        formatting.times(relative) if relative else formatting.scientific(arm.flops),
    ]


def _mean(value: SeedMean | None, *, signed: bool) -> str:
    if value is None:
        return formatting.NONE
    text = formatting.signed(value.mean) if signed else formatting.loss(value.mean)
    return text + formatting.spread(value)


def _note(results: EvalAll) -> str:
    seeds = f"; ± one standard deviation over {results.seeds} seeds" if results.seeds > 1 else ""
    sample = "\nThe built-in sample corpus: nothing learnt from it is a research result." if results.sample else ""
    relative = " FLOPs relative to sequential." if BASE_ARM in results.arms else ""
    return f"Nats per token; forgetting above zero = forgot{seeds}.{relative}{sample}"
