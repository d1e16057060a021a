"""A plan as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from palimpsest.plan.disk_usage import BYTES_PER_TOKEN, COMPRESSION, MAX_KEPT, MIN_KEPT
from palimpsest.plan.run_plan import RunPlan, StageCost, TotalCost

_WIDTHS = (8, 9, 9, 9, 9, 7, 11, 10)
_TEXT_WIDTHS = (10, 12, 12, 12, 12)
_FLOPS = ("kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs")


def format_plan(plan: RunPlan) -> str:
    """Models and GPUs, the tree of stages, the totals, the disk, and what the numbers leave out."""
    parts = [_header(plan), _stages(plan), _wall_time(plan), _disk(plan), _notes(plan)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _header(plan: RunPlan) -> list[str]:
    gpus, lines = plan.gpus, []
    for model in plan.models:
        tied = "tied" if model.tied else "untied"
        lines += [
            f"model  {model.name}: {model.layers} layers, {model.width:,} wide, {model.heads} heads, "
            f"MLP {model.ffn:,}, vocabulary {model.vocab_size:,}",
            f"       {_count(model.parameters)} parameters, {_count(model.parameters - model.embeddings)} "
            f"without embeddings ({tied}); {_count(model.training_flops_per_token, _FLOPS)} per training token, "
            f"context {plan.context_length:,}",
        ]
    processes = sorted({stage.processes for stage in plan.stages})
    return [
        *lines,
        f"       tokenizer of {plan.vocabulary.entries:,} entries, from {plan.vocabulary.source}",
        f"GPUs   {gpus.count} × {gpus.name} at {gpus.peak_flops / 1e12:,.0f} TFLOP/s (dense bf16), "
        f"{gpus.mfu:.0%} of it used (MFU); {' or '.join(map(str, processes))} per run (train.processes)",
    ]


def _stages(plan: RunPlan) -> list[str]:
    of_arms = [stage for stage in plan.stages if stage.arms]
    parents = {stage.lineage.rpartition("/")[0] for stage in of_arms}
    roots = dict.fromkeys(stage.lineage.partition("/")[0] for stage in of_arms)
    rows: list[tuple[str, Sequence[str]]] = []
    for root in roots:
        rows.append((_label(root), ()))
        for stage in of_arms:
            if stage.lineage.startswith(f"{root}/"):
                arms = () if stage.lineage in parents else stage.arms
                rows.append((_label(stage.lineage), [*_cells(stage), "  " + ", ".join(arms)]))
    rows.append((f"{plan.arms.stages} stages, each once", _cells(plan.arms)))
    if plan.sweep:
        rows.append((f"sweep, {plan.sweep.stages} more", _cells(plan.sweep)))
        rows.append(("all", _cells(plan.all)))
    first = max(len(name) for name, _ in rows)
    titles = ("steps", "new", "replayed", "tokens", "FLOPs", "cost", "GPU hours", "wall time")
    head = _row("stage".ljust(first), titles, _WIDTHS) + "  arm that ends here"
    above_rule = len(rows) - (3 if plan.sweep else 1)
    lines = [_row(name.ljust(first), cells, _WIDTHS) for name, cells in rows]
    return [head, *lines[:above_rule], "─" * (first + sum(_WIDTHS)), *lines[above_rule:]]


def _label(lineage: str) -> str:
    """The last segment of a path without its fingerprint, indented by its depth."""
    *above, last = lineage.split("/")
    return "  " * len(above) + last.rpartition(".")[0]


def _cells(cost: StageCost | TotalCost) -> list[str]:
    return [
        f"{cost.steps:,}",
        _count(cost.new_tokens),
        _count(cost.replayed_tokens) if cost.replayed_tokens else "–",
        _count(cost.total_tokens),
        f"{cost.flops:.2e}".replace("e+", "e"),
        f"{cost.compute_over_budget:.2f}×",
        _hours(cost.gpu_hours),
        _duration(cost.wall_hours),
    ]


def _wall_time(plan: RunPlan) -> list[str]:
    chain = plan.all.longest_chain
    path = " → ".join(_label(segment) for segment in chain.lineage.split("/")[1:])
    return [
        f"wall time on {plan.gpus.count} × {plan.gpus.name}: {_duration(plan.all.wall_hours)}, if stages start as "
        "soon as they can",
        f"  longest chain of stages: {_duration(chain.hours)}, {path}",
        f"  all GPUs busy all the time: {_duration(plan.all.busy_hours)}",
    ]


def _disk(plan: RunPlan) -> list[str]:
    disk = plan.disk
    titles = ("needed", "in the text", "raw", "corpus", "shards")
    lines = [_row("disk".ljust(13), titles, _TEXT_WIDTHS)]
    for language, text in disk.languages.items():
        available = _count(text.train_tokens) if text.bounded else "unbounded"
        sizes = [_bytes(size) for size in (text.raw, text.corpus, text.shards)]
        lines.append(_row(language.ljust(13), [_count(text.needed), available, *sizes], _TEXT_WIDTHS))
    rest = [
        (f"checkpoints of {plan.all.stages} stages, with AdamW's moments", disk.checkpoints),
        ("checkpoints of runs in progress, at most", disk.in_flight),
        ("replay pools, results", disk.pools + disk.results),
        ("all", disk.total),
    ]
    width = 13 + sum(_TEXT_WIDTHS)
    lines += [name + _bytes(size).rjust(width - len(name)) for name, size in rest]
    name = f"free in {disk.folder}"
    return [*lines, name + _bytes(disk.free).rjust(max(10, width - len(name)))]


def _notes(plan: RunPlan) -> list[str]:
    texts = plan.disk.languages
    lines = [
        "Tokens, steps, FLOPs and checkpoints are exact; cost is tokens over those of the stage without replay. Hours",
        "are of training at that MFU and exclude cleaning, validation and evaluation. Text is estimated, at",
        f"{BYTES_PER_TOKEN} bytes per token, compressed to {COMPRESSION:.0%}, of which cleaning keeps {MIN_KEPT:.0%} "
        f"(tokens) to {MAX_KEPT:.0%} (disk).",
        "DVC's cache of data/, runs/ and results/ takes as much again if the file system cannot share blocks.",
    ]
    if unbounded := [language for language, text in texts.items() if not text.bounded]:
        lines.append(
            f"{', '.join(unbounded)}: not on this machine, and without max_bytes: all of it will be read, which may be "
            "more than is needed."
        )
    for language, text in texts.items():
        if text.bounded and text.needed > text.train_tokens > 0:
            times = text.needed / text.train_tokens
            lines.append(f"{language}: less text than needed: a lineage reads each sequence {times:.1f} times.")
    return lines


def _row(name: str, cells: Iterable[str], widths: Sequence[int]) -> str:
    """A line with ``cells`` right-aligned in ``widths``; those beyond the widths are appended as they are."""
    texts = list(cells)
    aligned = [text.rjust(width) for text, width in zip(texts, widths, strict=False)]
    return (name + "".join(aligned) + "".join(texts[len(widths) :])).rstrip()


def _count(number: float, units: tuple[str, ...] = ("k", "M", "B", "T")) -> str:
    """About four digits with a unit: 100.0 B, 1.03 T."""
    power = min(len(units), max(0, (len(f"{number:.0f}") - 1) // 3))
    scaled = number / 1000**power
    return f"{scaled:,.{2 if scaled < 9.995 else 1}f} {units[power - 1]}" if power else f"{number:,.0f}"


def _bytes(number: float) -> str:
    return _count(number, ("kB", "MB", "GB", "TB"))


def _hours(hours: float) -> str:
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.2f}" if hours >= 0.01 else "< 0.01"


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} d"
    if hours >= 2:
        return f"{hours:.1f} h"
    if hours * 60 >= 2:
        return f"{hours * 60:.1f} min"
    return f"{hours * 3600:.0f} s" if hours * 3600 >= 1 else "< 1 s"
