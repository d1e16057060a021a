"""How a model is made, trained with replay and MER, and evaluated."""

from __future__ import annotations

import functools
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from palimpsest.artifact import file_digest, fingerprint
from palimpsest.errors import ParamsError
from palimpsest.params.section import Section
from palimpsest.paths import expand


def _check_origin(section: Tokenizer | Model) -> None:
    """What is given is a file or a commit on the hub."""
    if section.path and section.hub:
        raise ValueError("path and hub are both set; set one of them to null")
    if bool(section.hub) != bool(section.revision):
        raise ValueError("hub and revision go together: the commit hash pins what hub means")


class Tokenizer(Section):
    """One byte-level BPE for all languages: trained here, or taken from a file or the hub."""

    vocab_size: Annotated[int, Field(ge=260)] = Field(2048, description="entries, 256 bytes and end-of-text included")
    sample_mb: PositiveInt = Field(2, description="MB (10^6 bytes) of training text taken from each language")
    path: str | None = Field(None, description="a byte-level tokenizer.json to use as it is, instead of training one")
    hub: str | None = Field(None, description="owner/name of a model on the Hugging Face hub, for its tokenizer.json")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None, description="commit hash (40 hex digits) of hub"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        _check_origin(self)
        return self


class Model(Section):
    """A Llama model with random weights, or any causal LM on disk. A preset names the shape; other keys override it."""

    preset: Literal["nano", "tiny", "small", "99M", "560M", "1B", "6B"] = Field("tiny", description="a named shape")
    layers: PositiveInt | None = Field(None, description="transformer blocks")
    width: PositiveInt | None = Field(None, description="hidden size")
    heads: PositiveInt | None = Field(None, description="attention heads; must divide the width")
    ffn: PositiveInt | None = Field(None, description="intermediate size of the gated MLP")
    tie_embeddings: bool = Field(False, description="share the input and output embedding")
    path: str | None = Field(
        None,
        description="a folder with a Hugging Face causal LM (safetensors) to start from, in its own shape; the shards "
        "must be made by its tokenizer, so set tokenizer.path to its tokenizer.json",
    )
    hub: str | None = Field(
        None,
        description="owner/name of a causal LM on the Hugging Face hub, instead of path; set tokenizer.hub likewise",
    )
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        None, description="commit hash (40 hex digits) of hub"
    )

    @property
    def shape(self) -> dict[str, Any]:
        """What the first model is made from: a shape; a folder and the hash of its contents; a commit on the hub."""
        if self.hub:
            return {"hub": self.hub, "revision": self.revision}
        if self.path:
            return {"path": self.path, "content": _content(expand(self.path))}
        return dict(self._sizes)

    @property
    def label(self) -> str:
        """What its lineages are called; where a folder lies shapes nothing, so that its name does not go in."""
        if self.hub:
            return self.hub.rsplit("/", 1)[-1]
        return "given" if self.path else self.preset

    @property
    def _sizes(self) -> dict[str, int]:
        preset = dict(zip(("layers", "width", "heads", "ffn"), PRESETS[self.preset], strict=True))
        return preset | {key: value for key in preset if (value := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        _check_origin(self)
        return self

    @model_validator(mode="after")
    def _divides(self) -> Self:
        width, heads = self._sizes["width"], self._sizes["heads"]
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of twice the heads {heads}")
        return self


@functools.cache
def _content(folder: str) -> str:
    """A hash of a model's weights, description and tokenizer, read once in a process."""
    weights = sorted(Path(folder).glob("*.safetensors"))
    described = [Path(folder) / name for name in ("config.json", "tokenizer.json")]
    if not weights or not all(path.is_file() for path in described):
        raise ParamsError(
            f"model.path: {folder!r}: expected a folder with config.json, tokenizer.json and *.safetensors files"
        )
    return fingerprint([[path.name, file_digest(path)] for path in [*described, *weights]])


# layers, width, heads, ffn. 99M, 560M and 1B are the paper's; nano, tiny and small are for a CPU. The paper's 6B is
# published without its shape: this one keeps the ratio 2.5 of the others' MLPs and has 6.2 billion parameters beside
# the embeddings.
PRESETS = {
    "nano": (2, 96, 4, 256),
    "tiny": (4, 128, 4, 352),
    "small": (8, 256, 8, 704),
    "99M": (16, 512, 8, 1280),
    "560M": (24, 1024, 16, 2560),
    "1B": (24, 1792, 28, 5120),
    "6B": (32, 4096, 32, 10240),
}


# Keys of train that shape nothing, and can be edited in mid-run. A bad step that is not skipped ends a training, so
# what is trained to its end is the same under either.
SHAPES_NOTHING = {"checkpoint_interval", "keep_checkpoints", "loggers", "on_bad_step"}


class Train(Section):
    """How a stage is trained. An edit trains anew, in another folder, but for what checkpoint_interval names."""

    steps: PositiveInt = Field(150, description="optimiser steps of new data in a stage; replay may add to them")
    batch_size: PositiveInt = Field(16, description="sequences in a batch, replayed ones included")
    micro_batch_size: PositiveInt | None = Field(
        None, description="sequences in one forward pass of a process; null: its batch"
    )
    context_length: PositiveInt = Field(128, description="tokens in a sequence")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="peak learning rate")
    min_learning_rate: Annotated[float, Field(ge=0)] = Field(1e-4, description="learning rate at the end")
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="share of a schedule that warms up")
    schedule: Literal["rewarm_cosine", "single_cosine", "infinite", "wsd"] = Field(
        "rewarm_cosine",
        description="learning-rate policy over the stages. rewarm_cosine: warm-up and cosine in each; single_cosine: "
        "one for all; infinite: warm-up and cosine to a constant rate in the first, a decay at the end of the last; "
        "wsd: warm-up, peak and decay in each",
    )
    constant_learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="infinite: the rate between cooldown and decay; null: the mean of peak and min_learning_rate"
    )
    cooldown_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.3, description="infinite: share of the first stage in which a cosine goes from the peak to the constant rate"
    )
    decay_fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2,
        description="infinite, wsd: share of the last stage (infinite) or of each (wsd) that decays as 1 - √ to "
        "min_learning_rate",
    )
    optimizer_state: Literal["carry", "reset"] = Field("carry", description="AdamW's moments at a stage boundary")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="AdamW's decoupled weight decay (matrices)")
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="AdamW's decay of the mean gradient")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(0.95, description="AdamW's decay of the mean squared gradient")
    epsilon: Annotated[float, Field(gt=0)] = Field(1e-8, description="AdamW's epsilon")
    grad_clip: Annotated[float, Field(gt=0)] = Field(1.0, description="largest global norm of the gradient")
    on_bad_step: Literal["stop", "skip"] = Field(
        "stop",
        description="at a loss or gradient that is not finite, or a spike: stop, or skip the batch and count it; a "
        "training that stopped goes on from its checkpoint when this is edited",
    )
    spike_nats: Annotated[float, Field(gt=0)] | None = Field(
        3.0, description="a loss more than so many nats above the median of the last 100 is a spike; null: none is"
    )
    spike_factor: Annotated[float, Field(gt=1)] | None = Field(
        None, description="a gradient norm above so many times the median of the last 100 is a spike; null: none is"
    )
    threads: PositiveInt = Field(1, description="torch threads of one training; sums depend on it, so bytes do")
    processes: PositiveInt = Field(
        1, description="processes that share a training, started by torchrun; sums depend on it, so bytes do"
    )
    sharding: Literal["ddp", "fsdp"] = Field(
        "ddp", description="what each of several processes holds: ddp: the whole model; fsdp: a slice of every weight"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of forward and backward passes; weights, AdamW and Reptile stay in fp32"
    )
    document_mask: bool = Field(
        False, description="attend within a document alone, positions beginning anew with each, as in evaluation"
    )
    activation_checkpointing: bool = Field(
        False, description="compute activations of a block again for its gradient: less memory, a third more time"
    )
    compile: bool = Field(
        False, description="torch.compile of the blocks: slow to start, faster after; kept in ~/.cache/palimpsest"
    )
    eval_interval: PositiveInt = Field(25, description="steps between points of the validation curves")
    eval_tokens: PositiveInt = Field(4096, description="validation tokens of each language for such a point")
    alignment_interval: PositiveInt | None = Field(
        100,
        description="steps between measurements of the cosine between the gradients of new and of replayed sequences; "
        "null: none",
    )
    loggers: list[Literal["tensorboard", "wandb"]] = Field(
        [], description="where the lines of metrics.jsonl go too: tensorboard (logs/tensorboard), wandb"
    )
    checkpoint_interval: PositiveInt = Field(
        1000,
        description="steps between checkpoints; this, keep_checkpoints, loggers and on_bad_step can be edited mid-run",
    )
    keep_checkpoints: PositiveInt = Field(1, description="checkpoints kept of a training under way, the latest ones")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}")
        constant = self.constant_learning_rate
        if constant is not None and not self.min_learning_rate <= constant <= self.learning_rate:
            raise ValueError(
                f"constant_learning_rate {constant} must lie between min_learning_rate {self.min_learning_rate} and "
                f"learning_rate {self.learning_rate}"
            )
        if self.micro_batch_size and self.micro_batch_size > self.batch_size:
            raise ValueError(f"micro_batch_size {self.micro_batch_size} is above batch_size {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _fits_a_stage(self) -> Self:
        warmup, cooldown, decay = self.warmup_fraction, self.cooldown_fraction, self.decay_fraction
        if self.schedule == "infinite" and warmup + cooldown + decay > 1:
            raise ValueError(
                f"warmup_fraction {warmup}, cooldown_fraction {cooldown} and decay_fraction {decay} "
                "are more than a stage"
            )
        if self.schedule == "wsd" and warmup + decay > 1:
            raise ValueError(f"warmup_fraction {warmup} and decay_fraction {decay} are more than a stage")
        return self


def _decimal(rate: Any) -> Decimal:
    if isinstance(rate, bool) or not isinstance(rate, int | float | Decimal):
        raise ValueError("must be a number in [0, 1)")
    exact = Decimal(str(rate))
    if not exact.is_finite() or not 0 <= exact < 1:
        raise ValueError("must be in [0, 1)")
    if exact != round(exact, 9):
        raise ValueError("must have at most nine decimals")
    return exact


Rate = Annotated[Decimal, BeforeValidator(_decimal)]


class Replay(Section):
    """Experience replay (paper section 3): a fixed share of every batch comes from earlier languages."""

    rate: Rate = Field(Decimal("0.25"), description="α: replayed sequences over all sequences of a batch, in [0, 1)")
    rates: dict[str, Rate] = Field({}, description="language → α in the stage of that language, instead of rate")
    accounting: Literal["add", "replace"] = Field(
        "add",
        description="add: a stage's new tokens stay fixed, compute grows by 1/(1-α); replace: compute stays fixed",
    )
    scope: Literal["past", "balanced", "seen", "capacity"] = Field(
        "past",
        description="past: all sequences that earlier stages trained on, equally likely; balanced: every past language "
        "equally; seen: also those of the stage's own earlier batches; capacity: those that a reservoir holds",
    )
    capacity: PositiveInt | None = Field(None, description="scope capacity: sequences that the reservoir holds at most")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.scope == "capacity") != (self.capacity is not None):
            raise ValueError(
                f"scope is {self.scope} and capacity {self.capacity}; scope: capacity and a number go together"
            )
        return self


class Mer(Section):
    """Meta-experience replay: replay with a Reptile interpolation every k optimiser steps (paper section 3)."""

    interval: PositiveInt = Field(20, description="k: optimiser steps in a window")
    step_size: Annotated[float, Field(ge=0, le=1)] = Field(0.8, description="ε: θ ← a + ε(θ - a) at a window's end")
    moments: Literal["keep", "reset"] = Field(
        "keep", description="AdamW's moments after an interpolation: kept, or zeroed as before the first step"
    )


class Evaluate(Section):
    """The loss matrix: every checkpoint on the held-out documents of every language."""

    max_tokens: PositiveInt = Field(20_000, description="held-out tokens of each language, taken document by document")
    max_document_tokens: PositiveInt = Field(2048, description="tokens of one document, from its beginning")
    batch_size: PositiveInt = Field(32, description="windows in one forward pass")
    bootstrap: PositiveInt = Field(1000, description="resamples of the documents for the 95 % intervals")
    sample_tokens: Annotated[int, Field(ge=0)] = Field(
        40, description="tokens that each checkpoint writes after the beginning of two held-out documents; 0: none"
    )
    tasks: list[str] = Field(
        [],
        description="zero-shot tasks: names of built-in ones (docs/metrics.md lists them), or task files in "
        "lm-evaluation-harness's format that read local JSONL; code that a task file names is run: use those you "
        "trust",
    )
    task_data: str | None = Field(None, description="folder with the data files of the built-in tasks")
    task_source: Literal["local", "hub"] = Field(
        "local", description="where built-in tasks take their data: task_data, or the Hugging Face hub"
    )
    task_limit: PositiveInt | None = Field(
        None, description="questions of each task, evenly over all of them; null: all"
    )
