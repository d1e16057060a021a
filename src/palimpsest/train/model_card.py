"""The model card of an exported checkpoint: README.md in the form that the Hugging Face hub reads.

Everything in it follows from the training's spec, ledger and losses, so that equal trainings have equal cards;
versions of the libraries are not in it (config.json has transformers').
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from palimpsest.artifact import atomic_file
from palimpsest.replay.schedule import Schedule
from palimpsest.settings.replay import ReplayShare
from palimpsest.train.metrics_log import read as read_metrics

CARD = "README.md"
_PAPER = "arXiv 2508.01908"
_SCOPES = {
    "past": "every sequence that earlier stages trained on, each equally likely",
    "balanced": "the earlier languages, each equally often",
    "seen": "what earlier stages, and earlier batches of the same stage, trained on",
    "capacity": "a reservoir of {capacity:,} sequences of what earlier stages trained on",
}


class _Row(NamedTuple):
    """A stage of the lineage; sequences."""

    languages: tuple[str, ...]
    new: int
    replayed: int
    rate: str
    accounting: str


def write_card(out: Path, spec: dict[str, Any], counts: dict[str, Any], inputs: Mapping[str, str], name: str) -> Path:
    """Write README.md beside a finished training's metrics.jsonl; see ``card``."""
    curve = [line["validation"] for line in read_metrics(out / "metrics.jsonl") if "validation" in line]
    with atomic_file(out / CARD) as file:
        file.write(card(spec, counts, curve[-1], inputs, name).encode())
    return out / CARD


def card(
    spec: dict[str, Any], counts: dict[str, Any], validation: Mapping[str, float], inputs: Mapping[str, str], name: str
) -> str:
    """The card of the training ``spec``, whose fingerprint is ``name``.

    ``counts``: of the run's manifest. ``validation``: language → nats per token at the end. ``inputs``: role → hash.
    """
    rows = _rows(spec)
    parts = [
        f"---\n{_front_matter(spec, rows, validation)}---",
        f"# {_title(spec, rows)}",
        _summary(rows, counts),
        "## Training\n\n" + "\n\n".join(_training(spec, rows, counts)),
        "## Loss on held-out text\n\n" + _losses(rows, validation),
        "## Use and limits\n\n" + _LIMITS,
        "## How to load it\n\n" + _LOADING,
        "## Where it comes from\n\n" + _origin(spec, inputs, name),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(spec: dict[str, Any]) -> list[_Row]:
    """The stages so far; earlier ones are known by their budgets and rates in ``past``."""
    train, replay = spec["train"], spec["replay"] or {"rate": "0", "accounting": "add"}
    own = {
        "languages": [new["language"] for new in spec["new"]],
        "budget": sum(new["budget"] for new in spec["new"]),
        **{key: replay[key] for key in ("rate", "accounting")},
    }
    rows = []
    for stage in [*spec["past"], own]:
        row = Schedule.for_budget(
            stage["budget"],
            batch_size=train["batch_size"],
            replay=ReplayShare(rate=Decimal(stage["rate"]), accounting=stage["accounting"]),
        )
        languages = tuple(stage.get("languages") or [stage["language"]])
        rows.append(_Row(languages, row.new, row.replayed, stage["rate"], stage["accounting"]))
    return rows


def _trained(rows: Sequence[_Row]) -> list[str]:
    return [language for row in rows for language in row.languages]


def _percent(rate: str) -> str:
    return f"{(Decimal(rate) * 100).normalize():f} %"


def _method(spec: dict[str, Any], rows: Sequence[_Row]) -> list[str]:
    rates = dict.fromkeys(_percent(row.rate) for row in rows if row.replayed)
    replay = [f"{' and '.join(rates)} replay"] if rates else []
    return replay + (["MER" if rates else "Reptile"] if spec["mer"] else [])


def _title(spec: dict[str, Any], rows: Sequence[_Row]) -> str:
    order = " → ".join(" + ".join(row.languages) for row in rows)
    return f"Palimpsest: {', '.join([order, *_method(spec, rows)])}"


def _front_matter(spec: dict[str, Any], rows: Sequence[_Row], validation: Mapping[str, float]) -> str:
    method = [part.lower().replace(" % ", "-percent-").replace(" ", "-") for part in _method(spec, rows)]
    slug = [*_trained(rows), *method, f"s{spec['seed']}"]
    results = [
        {
            "task": {"type": "text-generation", "name": "Language modelling"},
            "dataset": {"type": "held-out", "name": f"Held-out text, {language}"},
            "metrics": [
                {"type": "loss", "name": "Nats per token", "value": round(validation[language], 4)},
                {"type": "perplexity", "name": "Perplexity", "value": round(_perplexity(validation[language]), 3)},
            ],
        }
        for language in dict.fromkeys(_trained(rows))
    ]
    values = {
        "language": list(dict.fromkeys(_trained(rows))),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "license": "other",
        "license_name": "as-the-training-data",
        "tags": ["continual-pretraining", *(name for name in ("replay", "mer", "reptile") if name in " ".join(method))],
        "model-index": [{"name": "-".join(["palimpsest", *slug]), "results": results}],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _summary(rows: Sequence[_Row], counts: dict[str, Any]) -> str:
    order = "on all languages at once" if len(rows[0].languages) > 1 else "on one language after another"
    return (
        f"A base language model of {counts['parameters']:,} parameters, trained {order} with Palimpsest: continual "
        f"pre-training with experience replay and meta-experience replay (MER), after {_PAPER}. It continues text; it "
        "was not tuned to follow instructions."
    )


def _training(spec: dict[str, Any], rows: Sequence[_Row], counts: dict[str, Any]) -> list[str]:
    context = spec["train"]["context_length"]
    lines = ["| stage | language | new tokens | replayed tokens | replay rate |", "|--:|---|--:|--:|--:|"]
    lines += [
        f"| {number} | {', '.join(row.languages)} | {row.new * context:,} | {row.replayed * context:,} | "
        f"{_percent(row.rate)} |"
        for number, row in enumerate(rows, 1)
    ]
    return ["\n".join(lines), *_replay(spec, rows), *_reptile(spec), _optimiser(spec, counts)]


def _replay(spec: dict[str, Any], rows: Sequence[_Row]) -> list[str]:
    if not spec["replay"]:
        return []
    kind = "added to the new ones" if rows[-1].accounting == "add" else "taken in place of new ones"
    scope = _SCOPES[spec["replay"]["scope"]].format(**spec["replay"])
    return [
        f"Replay: that share of every batch comes from {scope}. Replayed tokens were {kind} (`{rows[-1].accounting}`)."
    ]


def _reptile(spec: dict[str, Any]) -> list[str]:
    if not (mer := spec["mer"]):
        return []
    return [
        f"Reptile: from the second stage on, every k = {mer['interval']} optimiser steps, and at the end of a stage, "
        f"the weights θ became a + ε(θ − a) with ε = {mer['step_size']}, a being the weights at the last such step"
        + ("; AdamW's moments began anew then." if mer["moments"] == "reset" else ".")
    ]


def _optimiser(spec: dict[str, Any], counts: dict[str, Any]) -> str:
    train, ledger = spec["train"], counts["ledger"]
    return (
        f"AdamW (β {train['beta1']}, {train['beta2']}; weight decay {train['weight_decay']}; gradient norm at most "
        f"{train['grad_clip']}), {train['batch_size']:,} sequences of {train['context_length']:,} tokens a step, "
        f"{train['precision']}. Learning rate `{train['schedule']}`: {train['learning_rate']:g} at its peak, "
        f"{train['min_learning_rate']:g} at the end, {train['warmup_fraction']:.0%} warm-up. The last stage took "
        f"{ledger['steps']:,} steps and {ledger['flops']:.3g} FLOPs."
    )


def _losses(rows: Sequence[_Row], validation: Mapping[str, float]) -> str:
    stages = {language: number for number, row in enumerate(rows, 1) for language in row.languages}
    lines = ["| language | trained in stage | nats per token | perplexity |", "|---|--:|--:|--:|"]
    lines += [
        f"| {language} | {stages.get(language, 'not yet')} | {loss:.4f} | {_perplexity(loss):,.2f} |"
        for language, loss in validation.items()
    ]
    return "\n".join(lines) + (
        "\n\nOn the first held-out documents of each language, which training never saw, at the end of the last stage. "
        "Losses of different languages cannot be compared: their tokens stand for different amounts of text."
    )


def _perplexity(loss: float) -> float:
    """A training that went wrong still has a card."""
    return math.exp(loss) if loss < 700 else math.inf


def _origin(spec: dict[str, Any], inputs: Mapping[str, str], name: str) -> str:
    lines = [
        f"Stage {spec['stage']} of {spec['stages']}, seed {spec['seed']}. An equal fingerprint means an equal "
        "training; `manifest.json` beside this file has all of its settings.",
        "",
        "| | SHA-256 |",
        "|---|---|",
        f"| this training | `{name}` |",
        *(f"| manifest of {role} | `{digest}` |" for role, digest in sorted(inputs.items())),
    ]
    return "\n".join(lines)


_LIMITS = """Meant for research on continual pre-training: what a model keeps of earlier languages, and at what cost. It
may have forgotten part of what it learnt first; the losses above tell. Like every language model it repeats what stood
in its training text, errors, bias and offence included, and states falsehoods with ease. It has had no safety training:
do not put it before users, and do not rely on what it says.

What licence it may be used under follows from the texts that it was trained on; the report of the run lists them."""

_LOADING = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file is
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer(tokenizer.eos_token + "Once upon a time", return_tensors="pt", add_special_tokens=False)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=40)[0]))
```

Every document followed an end-of-text token in training, so put one before a prompt."""
