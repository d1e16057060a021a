"""A plan as a table that a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from palimpsest.plan.disk import BYTES_PER_TOKEN, KEPT, KEPT_AT_MOST, PACKED

_WIDTHS = (8, 9, 9, 9, 9, 7, 11, 10)
_TEXT_WIDTHS = (10, 12, 12, 12, 12)
_FLOPS = ("kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs")


def table(plan: dict[str, Any]) -> str:
    """Models and cards, every stage as a tree, the totals, the disk, and what the figures leave out."""
    parts = [_head(plan), _stages(plan), _wall(plan), _disk(plan), _notes(plan)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(plan: dict[str, Any]) -> list[str]:
    vocabulary, cards, lines = plan["vocabulary"], plan["cards"], []
    for model in plan["models"]:
        tied = "tied" if model["tied"] else "untied"
        lines += [
            f"model  {model['name']}: {model['layers']} layers, {model['width']:,} wide, {model['heads']} heads, "
            f"MLP {model['ffn']:,}, vocabulary {model['vocab_size']:,}",
            f"       {_count(model['parameters'])} parameters, {_count(model['parameters'] - model['embeddings'])} "
            f"without embeddings ({tied}); {_count(model['training_flops_per_token'], _FLOPS)} to train on a token, "
            f"context {plan['context_length']:,}",
        ]
    at_once = sorted({stage["processes"] for stage in plan["stages"]})
    return [
        *lines,
        f"       tokenizer of {vocabulary['entries']:,} entries, as {vocabulary['from']} says",
        f"cards  {cards['count']} × {cards['name']} at {cards['peak_flops'] / 1e12:,.0f} TFLOP/s (dense bf16) and "
        f"{cards['mfu']:.0%} of it used (MFU); {' or '.join(map(str, at_once))} a training (train.processes)",
    ]


def _stages(plan: dict[str, Any]) -> list[str]:
    of_arms = [stage for stage in plan["stages"] if stage["arms"]]
    parents = {stage["lineage"].rpartition("/")[0] for stage in of_arms}
    roots = dict.fromkeys(stage["lineage"].partition("/")[0] for stage in of_arms)
    rows: list[tuple[str, Sequence[str]]] = []
    for root in roots:
        rows.append((_label(root), ()))
        for stage in of_arms:
            if stage["lineage"].startswith(f"{root}/"):
                arms = [] if stage["lineage"] in parents else stage["arms"]
                rows.append((_label(stage["lineage"]), [*_cells(stage), "  " + ", ".join(arms)]))
    rows.append((f"{plan['arms']['stages']} stages, each once", _cells(plan["arms"])))
    if plan["sweep"]:
        rows.append((f"sweep, {plan['sweep']['stages']} more", _cells(plan["sweep"])))
        rows.append(("all", _cells(plan["all"])))
    first = max(len(name) for name, _ in rows)
    titles = ("steps", "new", "replayed", "tokens", "FLOPs", "cost", "card hours", "wall time")
    head = _row("stage".ljust(first), titles, _WIDTHS) + "  arm that ends here"
    ruled = len(rows) - (3 if plan["sweep"] else 1)
    lines = [_row(name.ljust(first), cells, _WIDTHS) for name, cells in rows]
    return [head, *lines[:ruled], "─" * (first + sum(_WIDTHS)), *lines[ruled:]]


def _label(lineage: str) -> str:
    """The last segment of a path without its fingerprint, indented as deep as it lies."""
    *above, last = lineage.split("/")
    return "  " * len(above) + last.rpartition(".")[0]


def _cells(costs: dict[str, Any]) -> list[str]:
    """Of a stage or of sums over stages."""
    return [
        f"{costs['steps']:,}",
        _count(costs["new_tokens"]),
        _count(costs["replayed_tokens"]) if costs["replayed_tokens"] else "–",
        _count(costs["total_tokens"]),
        f"{costs['flops']:.2e}".replace("e+", "e"),
        f"{costs['compute_over_budget']:.2f}×",
        _hours(costs["card_hours"]),
        _duration(costs["wall_hours"]),
    ]


def _wall(plan: dict[str, Any]) -> list[str]:
    chosen, cards = plan["all"], plan["cards"]
    chain = chosen["longest_chain"]
    path = " → ".join(_label(segment) for segment in chain["lineage"].split("/")[1:])
    return [
        f"wall time on {cards['count']} × {cards['name']}: {_duration(chosen['wall_hours'])}, if stages start as "
        "soon as they can",
        f"  longest chain of stages: {_duration(chain['hours'])}, {path}",
        f"  all cards busy all the time: {_duration(chosen['busy_hours'])}",
    ]


def _disk(plan: dict[str, Any]) -> list[str]:
    disk = plan["disk"]
    names = ("needed", "in the text", "raw", "corpus", "shards")
    lines = [_row("disk".ljust(13), names, _TEXT_WIDTHS)]
    for language, text in disk["languages"].items():
        there = _count(text["train_tokens"]) if text["bounded"] else "unbounded"
        sizes = [_bytes(text[name]) for name in ("raw", "corpus", "shards")]
        lines.append(_row(language.ljust(13), [_count(text["needed"]), there, *sizes], _TEXT_WIDTHS))
    stages = plan["all"]["stages"]
    rest = [
        (f"checkpoints of {stages} stages, with AdamW's moments", disk["checkpoints"]),
        ("checkpoints of the trainings under way, at most", disk["in_flight"]),
        ("replay pools, results", disk["pools"] + disk["results"]),
        ("all", disk["total"]),
    ]
    width = 13 + sum(_TEXT_WIDTHS)
    lines += [name + _bytes(size).rjust(width - len(name)) for name, size in rest]
    name = f"free in {disk['folder']}"
    return [*lines, name + _bytes(disk["free"]).rjust(max(10, width - len(name)))]


def _notes(plan: dict[str, Any]) -> list[str]:
    texts = plan["disk"]["languages"]
    lines = [
        "Tokens, steps, FLOPs and checkpoints are exact; cost is tokens over those of the stage without replay. Hours",
        "are of training at that MFU: cleaning, validation and evaluation come on top. Text is estimated, at",
        f"{BYTES_PER_TOKEN} bytes a token, packed to {PACKED:.0%}, of which cleaning keeps {KEPT:.0%} (tokens) to "
        f"{KEPT_AT_MOST:.0%} (disk). DVC's cache of",
        "data/, runs/ and results/ is as much again, where the disk cannot share blocks.",
    ]
    if unbounded := [language for language, text in texts.items() if not text["bounded"]]:
        lines.append(
            f"{', '.join(unbounded)}: not here, and without max_bytes: all of it will be taken, which may be "
            "more than is needed."
        )
    for language, text in texts.items():
        if text["bounded"] and text["needed"] > text["train_tokens"] > 0:
            times = text["needed"] / text["train_tokens"]
            lines.append(f"{language}: less text than needed: a sequence is new {times:.1f} times to a lineage.")
    return lines


def _row(name: str, cells: Iterable[str], widths: Sequence[int]) -> str:
    """``cells`` right-aligned; what is over the widths stands as it is."""
    texts = list(cells)
    aligned = [text.rjust(width) for text, width in zip(texts, widths, strict=False)]
    return (name + "".join(aligned) + "".join(texts[len(widths) :])).rstrip()


def _count(number: float, units: tuple[str, ...] = ("k", "M", "B", "T")) -> str:
    """Four digits or a few more: 100.0 B, 1.03 T."""
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
