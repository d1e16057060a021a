"""The one typed declaration of params.yaml: every key, its type, its range and its default.

``docs/params.md`` is made from the descriptions here. Nothing else in the project declares a setting; stages get
the resolved values that they use as plain JSON, so that training needs no validator library.
"""

from __future__ import annotations

import glob
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from palimpsest.errors import ParamsError

# The languages that the bundled language identification (py3langid) tells apart, by ISO 639-1 code.
LANGUAGES = frozenset(
    "af am an ar as az be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr ga gl gu he hi hr ht hu hy id is "
    "it ja jv ka kk km kn ko ku ky la lb lo lt lv mg mk ml mn mr ms mt nb ne nl nn no oc or pa pl ps pt qu ro ru rw se "
    "si sk sl sq sr sv sw ta te th tl tr ug uk ur vi vo wa xh zh zu".split()
)
SAMPLE_LANGUAGES = ("en", "fr", "de", "ar", "ja")
Fraction01 = Annotated[float, Field(ge=0, le=1)]


def expand(path: str) -> str:
    """A path from params.yaml with ~ and ${VARIABLES} filled in; specs keep it unfilled, so a move reruns nothing."""
    return os.path.expanduser(os.path.expandvars(path))


class Section(BaseModel):
    """A part of params.yaml. Unknown keys are refused, and values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SampleSource(Section):
    """The built-in sample corpus: small worlds told by a seeded generator, with junk and duplicates planted."""

    kind: Literal["sample"]
    documents: PositiveInt = Field(2000, description="documents to generate, before the planted ones are cleaned away")
    seed: int = Field(0, ge=0, description="seed of the generator")


class LocalSource(Section):
    """Your own files: JSONL (.jsonl, .jsonl.gz, .jsonl.zst), Parquet, or plain text (.txt, one document a file)."""

    kind: Literal["local"]
    path: str = Field(description="a file or glob (** allowed), relative to the project; ${VARIABLES} are expanded")
    text: str = Field("text", description="the column or key that holds the text")
    id: str = Field("id", description="the column or key that names a document; made from file and line where absent")

    @field_validator("path")
    @classmethod
    def _expandable(cls, path: str) -> str:
        if missing := re.search(r"\$\{?(\w+)", expand(path)):
            raise ValueError(f"the environment variable {missing[1]} is not set")
        return path


class HfSource(Section):
    """Files of a Hugging Face dataset (Parquet or JSONL) at a pinned revision."""

    kind: Literal["hf"]
    dataset: str = Field(description="owner/name on the hub, or a local folder of the same layout")
    revision: str | None = Field(None, description="commit hash (40 hex digits); needed unless dataset is a folder")
    files: str = Field("**/*.parquet", description="glob of the files inside the dataset")
    text: str = Field("text", description="the column that holds the text")
    id: str = Field("id", description="the column that names a document")
    max_documents: PositiveInt | None = Field(None, description="stop after so many documents")

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if not Path(self.dataset).is_dir() and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(
                f"revision must be a commit hash of 40 hex digits for the hub dataset {self.dataset!r}, "
                f"found {self.revision!r}; a branch or tag can move"
            )
        return self


Source = Annotated[SampleSource | LocalSource | HfSource, Field(discriminator="kind")]


class GopherQuality(Section):
    """Gopher's quality rules (Rae et al. 2021), by datatrove. Stop words are per language; ja has none."""

    min_doc_words: PositiveInt | None = Field(50, description="fewest words in a document")
    max_doc_words: PositiveInt | None = Field(100_000, description="most words in a document")
    max_symbol_word_ratio: float | None = Field(0.1, description="most # and … per word")
    max_bullet_lines_ratio: Fraction01 | None = Field(0.9, description="most lines that begin with a bullet")
    max_ellipsis_lines_ratio: Fraction01 | None = Field(0.3, description="most lines that end with an ellipsis")
    max_non_alpha_words_ratio: Fraction01 | None = Field(0.8, description="least share of words with a letter")
    min_stop_words: int | None = Field(2, ge=0, description="fewest distinct stop words")


class GopherRepetition(Section):
    """Gopher's repetition rules, by datatrove; its thresholds are the published ones."""


class C4Quality(Section):
    """C4's page rules (Raffel et al. 2020), by datatrove, as FineWeb uses them: without end-of-line punctuation."""

    min_num_sentences: int = Field(-1, description="fewest sentences; -1 switches the rule off")
    filter_no_terminal_punct: bool = Field(False, description="drop lines without end punctuation")


class FinewebQuality(Section):
    """FineWeb's own rules (Penedo et al. 2024), by datatrove."""

    line_punct_thr: Fraction01 = Field(0.12, description="least share of lines that end in punctuation")
    short_line_thr: Fraction01 = Field(0.67, description="most lines that are short")
    char_duplicates_ratio: Fraction01 = Field(0.01, description="most characters in duplicated lines")
    new_line_ratio: float = Field(0.3, description="most line breaks per word")


class Filters(Section):
    """Quality filters in the order in which they run; null switches one off."""

    gopher_repetition: GopherRepetition | None = GopherRepetition()
    gopher_quality: GopherQuality | None = GopherQuality()
    c4_quality: C4Quality | None = C4Quality()
    fineweb_quality: FinewebQuality | None = FinewebQuality()


class Minhash(Section):
    """Near-duplicate removal: MinHash signatures banded into buckets (LSH)."""

    ngram: PositiveInt = Field(5, description="words (characters, for languages without spaces) in a shingle")
    bands: PositiveInt = Field(14, description="buckets; two documents that share one are near-duplicates")
    rows: PositiveInt = Field(8, description="hashes in a band; the threshold is about (1/bands)^(1/rows)")


class Corpus(Section):
    """Where each language's text comes from, and how it is cleaned."""

    sources: dict[str, Source] = Field(description="one source for each language, by ISO 639-1 code")
    min_language_score: Fraction01 | None = Field(
        0.65, description="least probability of the language that the document is filed under; null: no check"
    )
    filters: Filters = Filters()
    exact_dedup: bool = Field(True, description="drop documents whose normalised text was seen before")
    minhash: Minhash | None = Field(Minhash(), description="near-duplicate removal; null switches it off")
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.02, description="share of documents held out, by a hash of the text; never trained on, never replayed"
    )
    shard_mb: PositiveInt = Field(256, description="size of a corpus shard in MB of text (10^6 bytes)")

    @field_validator("sources")
    @classmethod
    def _known(cls, sources: dict[str, Source]) -> dict[str, Source]:
        for language, source in sources.items():
            if language not in LANGUAGES:
                raise ValueError(f"unknown language {language!r}; allowed: {' '.join(sorted(LANGUAGES))}")
            if isinstance(source, SampleSource) and language not in SAMPLE_LANGUAGES:
                raise ValueError(f"the sample corpus has no {language!r}; it has {', '.join(SAMPLE_LANGUAGES)}")
        return sources


class Tokenizer(Section):
    """One byte-level BPE for all languages: trained here, or taken from a folder or file."""

    vocab_size: Annotated[int, Field(ge=260)] = Field(2048, description="entries, 256 bytes and end-of-text included")
    sample_mb: PositiveInt = Field(2, description="MB (10^6 bytes) of training text taken from each language")
    path: str | None = Field(None, description="a byte-level tokenizer.json to use as it is, instead of training one")


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


Arm = Literal["sequential", "replay", "reptile", "mer", "joint"]


class Params(Section):
    """params.yaml as a whole."""

    languages: Annotated[list[str], Field(min_length=1)] = Field(description="the stages, in order")
    corpus: Corpus
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    train: Train = Train()
    replay: Replay = Replay()
    mer: Mer = Mer()
    arms: Annotated[list[Arm], Field(min_length=1)] = Field(
        ["sequential", "replay", "mer", "joint"],
        description="what is compared: sequential, replay, reptile, mer, joint",
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        [0], description="one run of every arm for each; a seed sets the initial weights and the order of the data"
    )
    evaluate: Evaluate = Evaluate()
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {}, description="dotted key → values; results/sweep.json has every combination"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("languages", "arms", "seeds"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}: {getattr(self, name)} names something twice")
        for language in self.languages:
            if language not in self.corpus.sources:
                raise ValueError(
                    f"languages: {language!r} has no entry in corpus.sources; it has {', '.join(self.corpus.sources)}"
                )
        if {"mer", "reptile"} & set(self.arms) and self.mer.interval > self.train.steps:
            raise ValueError(
                f"mer.interval: {self.mer.interval} steps are more than the {self.train.steps} of a stage (train.steps)"
            )
        return self


def parse(values: Any, origin: str) -> Params:
    """Validate the contents of a params file; every problem is named by key, value and what is allowed."""
    if not isinstance(values, dict):
        raise ParamsError(f"{origin}: expected keys and values, found {type(values).__name__}")
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(f"{origin}: {_explain(problem)}" for problem in error.errors())) from None
    for language in params.languages:
        _check_paths(language, params.corpus.sources[language], origin)
    if (path := params.tokenizer.path) and not Path(path).is_file():
        raise ParamsError(f"{origin}: tokenizer.path: {path!r}: no such file")
    for point in grid(params.sweep):
        if point:
            override(params, point, origin)
    return params


def load(path: Path) -> Params:
    """Read and validate a params file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    return parse(values, str(path))


def grid(sweep: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the sweep's values, the last key running fastest; one empty point for an empty sweep."""
    points: list[dict[str, Any]] = [{}]
    for key, values in sweep.items():
        points = [point | {key: value} for point in points for value in values]
    return points


# A point of a sweep shares the data and the evaluation with the others, so that only what shapes a training may differ.
_SWEPT = re.compile(r"(model|replay|mer|train)\.(?!context_length|threads|checkpoint_interval|eval_)\w+")


def override(params: Params, point: dict[str, Any], origin: str = "sweep") -> Params:
    """The params with dotted keys replaced as a sweep does, validated again, without a sweep of their own."""
    values = params.model_dump()
    values["sweep"] = {}
    for dotted, value in point.items():
        *sections, key = dotted.split(".")
        if not _SWEPT.fullmatch(dotted):
            raise ParamsError(
                f"{origin}: sweep: {dotted!r} cannot be swept; keys of model, train, replay and mer can, which shape a "
                "training alone (train.context_length and train.threads cannot)"
            )
        place = values
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None  # type: ignore[assignment]
        if not isinstance(place, dict) or key not in place:
            raise ParamsError(f"{origin}: sweep: {dotted!r} is not a key of params.yaml")
        place[key] = value
    return parse(values, f"{origin}: sweep {point}")


def _check_paths(language: str, source: Source, origin: str) -> None:
    if isinstance(source, LocalSource) and next(glob.iglob(expand(source.path), recursive=True), None) is None:
        raise ParamsError(f"{origin}: corpus.sources.{language}.path: {source.path!r} matches no file")


def _explain(problem: Any) -> str:
    # A union's tag stands in pydantic's location though it is no key of the file.
    tags = {"sample", "local", "hf"}
    key = ".".join(str(part) for part in problem["loc"] if part not in tags) or "the file"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; see docs/params.md for the keys that there are"
    if problem["type"] == "missing":
        return f"{key}: missing; it has no default"
    found = problem["input"]
    shown = "" if isinstance(found, dict | BaseModel) else f": found {found!r}"
    return f"{key}{shown}: {message}"
