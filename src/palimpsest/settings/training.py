"""How a stage is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from palimpsest.settings.base import Bound, Positive, Settings, setting


@dataclass(frozen=True, kw_only=True)
class Train(Settings):
    """How a stage is trained. Editing a key starts a new lineage, except the keys listed under checkpoint_interval."""

    steps: Positive = setting(150, "optimiser steps of new data in a stage; replay may add more")
    batch_size: Positive = setting(16, "sequences in a batch, replayed ones included")
    micro_batch_size: Positive | None = setting(
        None, "sequences in one forward pass of a process; null: all of its batch"
    )
    context_length: Positive = setting(128, "tokens in a sequence")
    learning_rate: Annotated[float, Bound(gt=0)] = setting(1e-3, "peak learning rate")
    min_learning_rate: Annotated[float, Bound(ge=0)] = setting(1e-4, "learning rate at the end")
    warmup_fraction: Annotated[float, Bound(ge=0, lt=1)] = setting(0.05, "fraction of a schedule that warms up")
    schedule: Literal["rewarm_cosine", "single_cosine", "infinite", "wsd"] = setting(
        "rewarm_cosine",
        "learning-rate schedule over the stages. rewarm_cosine: warm-up and cosine in each; single_cosine: "
        "one for all; infinite: warm-up and cosine to a constant rate in the first, a decay at the end of the last; "
        "wsd: warm-up, peak and decay in each",
    )
    constant_learning_rate: Annotated[float, Bound(gt=0)] | None = setting(
        None, "infinite: the learning rate between cooldown and decay; null: the mean of peak and min_learning_rate"
    )
    cooldown_fraction: Annotated[float, Bound(ge=0, lt=1)] = setting(
        0.3, "infinite: fraction of the first stage in which a cosine falls from the peak to the constant learning rate"
    )
    decay_fraction: Annotated[float, Bound(ge=0, le=1)] = setting(
        0.2,
        "infinite, wsd: part of the last stage (infinite) or of each (wsd) that decays as 1 - √ to min_learning_rate",
    )
    optimizer_state: Literal["carry", "reset"] = setting("carry", "AdamW's moments at a stage boundary")
    weight_decay: Annotated[float, Bound(ge=0)] = setting(0.1, "AdamW's decoupled weight decay (matrices)")
    beta1: Annotated[float, Bound(ge=0, lt=1)] = setting(0.9, "AdamW's decay of the mean gradient")
    beta2: Annotated[float, Bound(ge=0, lt=1)] = setting(0.95, "AdamW's decay of the mean squared gradient")
    epsilon: Annotated[float, Bound(gt=0)] = setting(1e-8, "AdamW's epsilon")
    grad_clip: Annotated[float, Bound(gt=0)] = setting(1.0, "maximum global norm of the gradient")
    on_bad_step: Literal["stop", "skip"] = setting(
        "stop",
        "at a loss or gradient that is not finite, or a spike: stop, or skip the batch and count it; after an edit, "
        "a stopped training resumes from its checkpoint",
        in_fingerprint=False,
    )
    spike_nats: Annotated[float, Bound(gt=0)] | None = setting(
        3.0, "a loss that exceeds the median of the last 100 steps by more than this many nats is a spike; null: off"
    )
    spike_factor: Annotated[float, Bound(gt=1)] | None = setting(
        None, "a gradient norm above this multiple of the median of the last 100 steps is a spike; null: off"
    )
    threads: Positive = setting(1, "torch threads of each process; the last bits of the weights depend on it")
    processes: Positive = setting(
        1, "processes that share a training run, started by torchrun; the last bits of the weights depend on it"
    )
    sharding: Literal["ddp", "fsdp"] = setting(
        "ddp", "what each process stores. ddp: the whole model; fsdp: a slice of every weight"
    )
    precision: Literal["fp32", "bf16"] = setting(
        "fp32", "of forward and backward passes; weights, AdamW and Reptile stay in fp32"
    )
    document_mask: bool = setting(
        False, "attend only within a document, with positions from its beginning, as in evaluation"
    )
    activation_checkpointing: bool = setting(
        False, "recompute the activations of a block for its gradient: less memory, a third more time"
    )
    compile: bool = setting(
        False, "torch.compile of the blocks: slow to start, faster after; cached in ~/.cache/palimpsest"
    )
    eval_interval: Positive = setting(25, "steps between points of the validation curves")
    eval_tokens: Positive = setting(4096, "validation tokens of each language for each point")
    alignment_interval: Positive | None = setting(
        100,
        "steps between measurements of the cosine between the gradients of new and of replayed sequences; null: off",
    )
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = setting(
        (),
        "where the records of metrics.jsonl are sent too; tensorboard writes to logs/tensorboard",
        in_fingerprint=False,
    )
    checkpoint_interval: Positive = setting(
        1000,
        "steps between checkpoints; this, keep_checkpoints, loggers and on_bad_step can be edited during a training",
        in_fingerprint=False,
    )
    keep_checkpoints: Positive = setting(
        1, "number of latest checkpoints that a running training keeps", in_fingerprint=False
    )

    def __post_init__(self) -> None:
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
        self._check_fractions()

    def _check_fractions(self) -> None:
        warmup, cooldown, decay = self.warmup_fraction, self.cooldown_fraction, self.decay_fraction
        if self.schedule == "infinite" and warmup + cooldown + decay > 1:
            raise ValueError(
                f"warmup_fraction {warmup}, cooldown_fraction {cooldown} and decay_fraction {decay} "
                "are more than a stage"
            )
        if self.schedule == "wsd" and warmup + decay > 1:
            raise ValueError(f"warmup_fraction {warmup} and decay_fraction {decay} are more than a stage")
