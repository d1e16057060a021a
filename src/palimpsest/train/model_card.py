"""The model card of an exported checkpoint: README.md in the form that the Hugging Face hub reads.

All of it follows from the run's spec, ledger and losses, so that equal runs have equal model cards. It names
no versions of libraries (config.json has that of transformers).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest.artifact import atomic_file
from palimpsest.replay.schedule import ReplaySchedule
from palimpsest.settings.replay import ReplayShare
from palimpsest.specs.training import TrainSpec
from palimpsest.train.metrics import ValidationRecord, read_metrics
from palimpsest.train.run_counts import RunCounts

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

MODEL_CARD = "README.md"
_PAPER = "arXiv 2508.01908"
_SCOPES = {
    "past": "every sequence that earlier stages trained on, each equally likely",
    "balanced": "the earlier languages, each equally often",
    "seen": "what earlier stages, and earlier batches of the same stage, trained on",
    "capacity": "a reservoir of {capacity:,} sequences of what earlier stages trained on",
}


@dataclass(frozen=True, kw_only=True)
class CardStage:
    """A stage of the lineage."""

    languages: tuple[str, ...]
    schedule: ReplaySchedule

    @property
    def rate(self) -> str:
        """The replay rate in percent."""
        return f"{(self.schedule.replay_rate * 100).normalize():f} %"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The model card of the run with ``spec`` and ``fingerprint``.

    ``validation``: language → nats per token at the end. ``input_digests``: role → hash.
    """

    spec: TrainSpec
    counts: RunCounts
    validation: Mapping[str, float]
    input_digests: Mapping[str, str]
    fingerprint: str

    @property
    def stages(self) -> list[CardStage]:
        """The stages so far; of earlier ones, ``past`` has the budgets and replay rates."""
        texts: list[tuple[tuple[str, ...], int, ReplayShare | None]] = [
            ((past.language,), past.sequences, past.replay) for past in self.spec.past
        ]
        texts.append((tuple(new.language for new in self.spec.new), self.spec.budget, self.spec.replay))
        batch_size = self.spec.train.batch_size
        return [
            CardStage(
                languages=languages, schedule=ReplaySchedule.for_budget(budget, batch_size=batch_size, replay=replay)
            )
            for languages, budget, replay in texts
        ]

    @property
    def methods(self) -> list[str]:
        """Replay with its rates, and MER or Reptile."""
        rates = dict.fromkeys(stage.rate for stage in self.stages if stage.schedule.replayed)
        replay = [f"{' and '.join(rates)} replay"] if rates else []
        return replay + (["MER" if rates else "Reptile"] if self.spec.mer else [])

    @property
    def text(self) -> str:
        """README.md."""
        order = " → ".join(" + ".join(stage.languages) for stage in self.stages)
        parts = [
            f"---\n{_front_matter(self)}\n---",
            f"# Palimpsest: {', '.join([order, *self.methods])}",
            _summary(self),
            "## Training\n\n" + "\n\n".join([_stage_table(self), *_replay(self), *_reptile(self), _optimiser(self)]),
            "## Loss on held-out text\n\n" + _losses(self),
            "## Use and limits\n\n" + _LIMITS,
            "## How to load it\n\n" + _LOADING,
            "## Where it comes from\n\n" + _origin(self),
        ]
        return "\n\n".join(parts) + "\n"


def write_model_card(
    out: Path, spec: TrainSpec, counts: RunCounts, input_digests: Mapping[str, str], fingerprint: str
) -> Path:
    """Write README.md beside a finished training's metrics.jsonl."""
    curve = [record for record in read_metrics(out / "metrics.jsonl") if isinstance(record, ValidationRecord)]
    card = ModelCard(
        spec=spec,
        counts=counts,
        validation=curve[-1].validation,
        input_digests=input_digests,
        fingerprint=fingerprint,
    )
    with atomic_file(out / MODEL_CARD) as file:
        file.write(card.text.encode())
    return out / MODEL_CARD


def _front_matter(card: ModelCard) -> str:
    from huggingface_hub import ModelCardData

    languages = list(dict.fromkeys(language for stage in card.stages for language in stage.languages))
    methods = [method.lower().replace(" % ", "-percent-").replace(" ", "-") for method in card.methods]
    trained = [language for stage in card.stages for language in stage.languages]
    data = ModelCardData(
        language=languages,
        library_name="transformers",
        pipeline_tag="text-generation",
        license="other",
        license_name="as-the-training-data",
        tags=["continual-pretraining", *(tag for tag in ("replay", "mer", "reptile") if tag in " ".join(methods))],
        model_name="-".join(["palimpsest", *trained, *methods, f"s{card.spec.seed}"]),
        eval_results=[
            result for language in languages for result in _eval_results(language, card.validation[language])
        ],
    )
    return data.to_yaml()


def _eval_results(language: str, loss: float) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    numbers = (("loss", "Nats per token", round(loss, 4)), ("perplexity", "Perplexity", round(_perplexity(loss), 3)))
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Language modelling",
            dataset_type="held-out",
            dataset_name=f"Held-out text, {language}",
            dataset_config=language,
            metric_type=metric,
            metric_name=name,
            metric_value=value,
        )
        for metric, name, value in numbers
    ]


def _summary(card: ModelCard) -> str:
    order = "on all languages at once" if len(card.stages[0].languages) > 1 else "on one language after another"
    return (
        f"A base language model of {card.counts.parameters:,} parameters, trained {order} with Palimpsest: continual "
        f"pre-training with experience replay and meta-experience replay (MER), after {_PAPER}. It continues text; it "
        "was not tuned to follow instructions."
    )


def _stage_table(card: ModelCard) -> str:
    context = card.spec.train.context_length
    lines = ["| stage | language | new tokens | replayed tokens | replay rate |", "|--:|---|--:|--:|--:|"]
    lines += [
        f"| {number} | {', '.join(stage.languages)} | {stage.schedule.new * context:,} | "
        f"{stage.schedule.replayed * context:,} | {stage.rate} |"
        for number, stage in enumerate(card.stages, 1)
    ]
    return "\n".join(lines)


def _replay(card: ModelCard) -> list[str]:
    if not (replay := card.spec.replay):
        return []
    kind = "added to the new ones" if replay.accounting == "add" else "used in place of new ones"
    scope = _SCOPES[replay.scope].format(capacity=replay.capacity)
    return [
        f"Replay: that fraction of every batch comes from {scope}. Replayed tokens were {kind} (`{replay.accounting}`)."
    ]


def _reptile(card: ModelCard) -> list[str]:
    if not (mer := card.spec.mer):
        return []
    return [
        f"Reptile: from the second stage on, every k = {mer.interval} optimiser steps, and at the end of a stage, "
        f"the weights θ became a + ε(θ − a) with ε = {mer.step_size}, a being the weights at the last such step"
        + ("; AdamW's moments were reset then." if mer.moments == "reset" else ".")
    ]


def _optimiser(card: ModelCard) -> str:
    train, ledger = card.spec.train, card.counts.ledger
    return (
        f"AdamW (β {train.beta1}, {train.beta2}; weight decay {train.weight_decay}; gradient norm at most "
        f"{train.grad_clip}), {train.batch_size:,} sequences of {train.context_length:,} tokens a step, "
        f"{train.precision}. Learning rate `{train.schedule}`: {train.learning_rate:g} at its peak, "
        f"{train.min_learning_rate:g} at the end, {train.warmup_fraction:.0%} warm-up. The last stage took "
        f"{ledger.steps:,} steps and {ledger.flops:.3g} FLOPs."
    )


def _losses(card: ModelCard) -> str:
    trained_in = {language: number for number, stage in enumerate(card.stages, 1) for language in stage.languages}
    lines = ["| language | trained in stage | nats per token | perplexity |", "|---|--:|--:|--:|"]
    lines += [
        f"| {language} | {trained_in.get(language, 'not yet')} | {loss:.4f} | {_perplexity(loss):,.2f} |"
        for language, loss in card.validation.items()
    ]
    return "\n".join(lines) + (
        "\n\nOn the first held-out documents of each language, which training never saw, at the end of the last stage. "
        "Losses of different languages cannot be compared: their tokens stand for different amounts of text."
    )


def _perplexity(loss: float) -> float:
    """Infinite if the run diverged, which has a model card too."""
    return math.exp(loss) if loss < 700 else math.inf


def _origin(card: ModelCard) -> str:
    spec = card.spec
    lines = [
        f"Stage {spec.stage} of {spec.stages}, seed {spec.seed}. An equal fingerprint means an equal training; "
        "`manifest.json` beside this file has all of its settings.",
        "",
        "| | SHA-256 |",
        "|---|---|",
        f"| this training | `{card.fingerprint}` |",
        *(f"| manifest of {role} | `{digest}` |" for role, digest in sorted(card.input_digests.items())),
    ]
    return "\n".join(lines)


_LIMITS = """Meant for research on continual pre-training: what a model keeps of earlier languages, and at what cost. It
may have forgotten part of what it learnt first; the losses above show how much. Like every language model it repeats
what its training text contained, errors, bias and offence included, and states falsehoods with ease. It has had no
safety training: do not put it before users, and do not rely on what it says.

The licence under which it may be used follows from the texts that it was trained on; the report of the run lists
them."""

_LOADING = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file is
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer(tokenizer.eos_token + "Once upon a time", return_tensors="pt", add_special_tokens=False)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=40)[0]))
```

Every document followed an end-of-text token in training, so put one before a prompt."""
