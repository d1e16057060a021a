"""How a model is made, trained with replay and MER, and evaluated."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from palimpsest.params.section import Section


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
        if self.path and self.hub:
            raise ValueError("path and hub are both set; set one of them to null")
        if bool(self.hub) != bool(self.revision):
            raise ValueError("hub and revision go together: the commit hash pins what hub means")
        return self


class Model(Section):
    """A Llama model. A preset names the shape; any other key here overrides it."""

    preset: Literal["nano", "tiny", "small", "99M", "560M", "1B"] = Field("tiny", description="a named shape")
    layers: PositiveInt | None = Field(None, description="transformer blocks")
    width: PositiveInt | None = Field(None, description="hidden size")
    heads: PositiveInt | None = Field(None, description="attention heads; must divide the width")
    ffn: PositiveInt | None = Field(None, description="intermediate size of the gated MLP")
    tie_embeddings: bool = Field(False, description="share the input and output embedding")

    @property
    def shape(self) -> dict[str, int]:
        """The resolved shape: layers, width, heads, ffn."""
        preset = dict(zip(("layers", "width", "heads", "ffn"), PRESETS[self.preset], strict=True))
        return preset | {key: value for key in preset if (value := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.shape["width"] % (2 * self.shape["heads"]):
            raise ValueError(f"width {self.shape['width']} must be a multiple of twice the heads {self.shape['heads']}")
        return self


# layers, width, heads, ffn. The named sizes are the paper's (99M, 560M, 1B); nano and tiny are for a CPU.
PRESETS = {
    "nano": (2, 96, 4, 256),
    "tiny": (4, 128, 4, 352),
    "small": (8, 256, 8, 704),
    "99M": (16, 512, 8, 1280),
    "560M": (24, 1024, 16, 2560),
    "1B": (24, 1792, 28, 5120),
}


class Train(Section):
    """How a stage is trained. Every key here shapes the weights: an edit trains anew, in another folder."""

    steps: PositiveInt = Field(150, description="optimiser steps of new data in a stage; replay may add to them")
    batch_size: PositiveInt = Field(16, description="sequences in a batch, replayed ones included")
    micro_batch_size: PositiveInt | None = Field(None, description="sequences in one forward pass; null: the batch")
    context_length: PositiveInt = Field(128, description="tokens in a sequence")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="peak learning rate")
    min_learning_rate: Annotated[float, Field(ge=0)] = Field(1e-4, description="learning rate at the end")
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="share of a schedule that warms up")
    schedule: Literal["rewarm_cosine", "single_cosine"] = Field(
        "rewarm_cosine", description="learning-rate policy over the stages"
    )
    optimizer_state: Literal["carry", "reset"] = Field("carry", description="AdamW's moments at a stage boundary")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="AdamW's decoupled weight decay (matrices)")
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="AdamW's decay of the mean gradient")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(0.95, description="AdamW's decay of the mean squared gradient")
    epsilon: Annotated[float, Field(gt=0)] = Field(1e-8, description="AdamW's epsilon")
    grad_clip: Annotated[float, Field(gt=0)] = Field(1.0, description="largest global norm of the gradient")
    threads: PositiveInt = Field(1, description="torch threads of one training; sums depend on it, so bytes do")
    eval_interval: PositiveInt = Field(25, description="steps between points of the validation curves")
    eval_tokens: PositiveInt = Field(4096, description="validation tokens of each language for such a point")
    checkpoint_interval: PositiveInt = Field(
        1000, description="steps between checkpoints; the one key here that shapes nothing and may be edited in mid-run"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}")
        if self.micro_batch_size and self.micro_batch_size > self.batch_size:
            raise ValueError(f"micro_batch_size {self.micro_batch_size} is above batch_size {self.batch_size}")
        return self


class Replay(Section):
    """Experience replay (paper section 3): a fixed share of every batch comes from earlier languages."""

    rate: Decimal = Field(Decimal("0.25"), description="α: replayed sequences over all sequences of a batch, in [0, 1)")
    accounting: Literal["add", "replace"] = Field(
        "add",
        description="add: a stage's new tokens stay fixed, compute grows by 1/(1-α); replace: compute stays fixed",
    )
    scope: Literal["past", "balanced"] = Field(
        "past",
        description="past: all sequences trained on before, equally likely; balanced: every past language equally",
    )

    @field_validator("rate", mode="before")
    @classmethod
    def _decimal(cls, rate: Any) -> Decimal:
        if isinstance(rate, bool) or not isinstance(rate, int | float | Decimal):
            raise ValueError("must be a number in [0, 1)")
        exact = Decimal(str(rate))
        if not exact.is_finite() or not 0 <= exact < 1:
            raise ValueError("must be in [0, 1)")
        if exact != round(exact, 9):
            raise ValueError("must have at most nine decimals")
        return exact


class Mer(Section):
    """Meta-experience replay: replay with a Reptile interpolation every k optimiser steps (paper section 3)."""

    interval: PositiveInt = Field(20, description="k: optimiser steps in a window")
    step_size: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="ε: θ ← a + ε(θ - a) at a window's end")


class Evaluate(Section):
    """The loss matrix: every checkpoint on the held-out documents of every language."""

    max_tokens: PositiveInt = Field(20_000, description="held-out tokens of each language, taken document by document")
    max_document_tokens: PositiveInt = Field(2048, description="tokens of one document, from its beginning")
    batch_size: PositiveInt = Field(32, description="windows in one forward pass")
    bootstrap: PositiveInt = Field(1000, description="resamples of the documents for the 95 % intervals")
