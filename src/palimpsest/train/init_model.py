"""The first checkpoint of every lineage, before any training here: random weights, or a pretrained model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from palimpsest.artifact import Manifest, read_manifest, write_manifest
from palimpsest.codec import encode, fingerprint_fields
from palimpsest.errors import TrainingError
from palimpsest.hub import Repository
from palimpsest.model.flops import training_flops_per_token
from palimpsest.model.hf_checkpoint import load_pretrained_model, random_llama, save_model, set_stop_token
from palimpsest.model.llama_config import llama_config
from palimpsest.settings.base import expand
from palimpsest.specs.training import FolderModel, HubModel, InitSpec
from palimpsest.train.run_counts import InitCounts

logger = logging.getLogger(__name__)

# Weights under transformers' names alone: some repositories have the same ones under other names too, or in pickles.
_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json",
    "model-?????-of-?????.safetensors",
)  # fmt: skip


def init_model(spec: InitSpec, tokenizer: Path, out: Path) -> Manifest:
    """Write runs/{root} for the tokenizer folder's vocabulary."""
    manifest = read_manifest(tokenizer, "tokenizer")
    model = _model(spec, manifest)
    counts = InitCounts(
        parameters=sum(weight.numel() for weight in model.parameters()),
        training_flops_per_token=training_flops_per_token(model.config, spec.context_length),
    )
    logger.info(
        "%s parameters, %s training FLOPs per token", f"{counts.parameters:,}", f"{counts.training_flops_per_token:,}"
    )
    files = save_model(model, out, tokenizer)
    return write_manifest(
        out,
        stage="run",
        params=fingerprint_fields(spec),
        inputs={"tokenizer": manifest},
        files=files,
        counts=encode(counts),
    )


def _model(spec: InitSpec, tokenizer: Manifest) -> Any:
    if isinstance(spec.model, HubModel):
        return _adapt(_download(spec.model), spec, tokenizer)
    if isinstance(spec.model, FolderModel):
        return _adapt(Path(expand(spec.model.path)), spec, tokenizer)
    vocab_size, end_of_text = tokenizer.counts["vocab_size"], tokenizer.counts["end_of_text"]
    config = llama_config(spec.model, context_length=spec.context_length, vocab_size=vocab_size)
    return random_llama(config, end_of_text, spec.seed)


def _download(model: HubModel) -> Path:
    """A folder in the hub's cache with a model's config and safetensors; no pickles and no code."""
    repository = Repository(
        section="model", name=model.hub, revision=model.revision, error=TrainingError,
        instead="give a folder as model.path",
    )  # fmt: skip
    folder = repository.folder(_FILES)
    for needed in ("config.json", "*.safetensors", "tokenizer.json"):
        if not any(folder.glob(needed)):
            raise TrainingError(
                f"{repository}: has no {needed}; save the model with its tokenizer in that form, and give the folder "
                "as model.path"
            )
    return folder


def _adapt(folder: Path, spec: InitSpec, tokenizer: Manifest) -> Any:
    """A pretrained model, checked to use the tokens of the shards; it may have more embeddings than tokens."""
    model = load_pretrained_model(folder)
    config, size = model.config, tokenizer.counts["vocab_size"]
    if config.vocab_size < size:
        raise TrainingError(f"{folder}: has {config.vocab_size} embeddings, but data/tokenizer has {size} entries")
    _check_tokenizer(folder / "tokenizer.json", tokenizer.folder / "tokenizer.json", spec)
    if config.max_position_embeddings < spec.context_length:
        raise TrainingError(
            f"{folder}: takes {config.max_position_embeddings} tokens, but train.context_length is "
            f"{spec.context_length}; lower that"
        )
    set_stop_token(model, tokenizer.counts["end_of_text"])
    # A resumed run could not draw the random numbers of one that ran through; and text that is seen once needs no
    # dropout.
    for key, value in vars(config).items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    return model


def _check_tokenizer(theirs: Path, ours: Path, spec: InitSpec) -> None:
    if not theirs.is_file():
        raise TrainingError(
            f"{theirs}: no such file, so it cannot be checked that the model uses the tokens of the shards; save its "
            "tokenizer beside the weights, as AutoTokenizer's save_pretrained does"
        )
    if parts := _differences(theirs, ours):
        is_folder = isinstance(spec.model, FolderModel)
        how = "tokenizer.path to this file" if is_folder else "tokenizer.hub and .revision as model's"
        raise TrainingError(
            f"{theirs}: tokenizes text differently from data/tokenizer, which made the shards: {', '.join(parts)} "
            f"differ; set {how}"
        )


def _differences(one: Path, other: Path) -> list[str]:
    """The parts of two tokenizer.json that turn text into tokens, where they are not the same."""
    ours, theirs = _parts(one), _parts(other)
    return [part for part in ours if ours[part] != theirs.get(part)]


def _parts(path: Path) -> dict[str, Any]:
    # As the library writes it, whichever of its versions wrote the file. What truncates, pads, decodes or adds tokens
    # around a text does not matter here.
    try:
        parts = json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception as error:  # the library has no class of its own for it
        raise TrainingError(f"{path}: not a tokenizer.json that tokenizers can load: {error}") from None
    added = sorted(parts.pop("added_tokens"), key=lambda token: int(token["id"]))
    before_model = {part: parts[part] for part in ("normalizer", "pre_tokenizer")}
    return {**parts["model"], **before_model, "added_tokens": added}
