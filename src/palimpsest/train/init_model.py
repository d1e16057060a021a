"""The first checkpoint of every lineage, before any training here: random weights, or a model from elsewhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import GenerationConfig

from palimpsest.artifact import Manifest, read_manifest, write_manifest
from palimpsest.errors import TrainingError
from palimpsest.hub import Repository
from palimpsest.model.flops import training_flops_per_token
from palimpsest.model.hf_checkpoint import load_pretrained_model, random_llama, save_model
from palimpsest.model.llama_config import llama_config
from palimpsest.settings.base import expand

logger = logging.getLogger(__name__)

# Weights in transformers' names alone: some models have the same ones under other names beside them, or in pickles.
_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json",
    "model-?????-of-?????.safetensors",
)  # fmt: skip


def build(spec: dict[str, Any], tokenizer: Path, out: Path) -> Manifest:
    """Write runs/{root} for the tokenizer folder's vocabulary."""
    manifest = read_manifest(tokenizer, "tokenizer")
    given = spec["model"]
    if "hub" in given:
        model = _adopt(_fetch(given["hub"], given["revision"]), spec, manifest)
    elif "path" in given:
        model = _adopt(Path(expand(given["path"])), spec, manifest)
    else:
        vocab_size, end_of_text = manifest.counts["vocab_size"], manifest.counts["end_of_text"]
        config = llama_config(given, context_length=spec["context_length"], vocab_size=vocab_size)
        model = random_llama(config, end_of_text, spec["seed"])
    counts = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "training_flops_per_token": training_flops_per_token(model.config, spec["context_length"]),
    }
    logger.info("%s parameters, %s training FLOPs per token", *(f"{value:,}" for value in counts.values()))
    files = save_model(model, out, tokenizer)
    # Where a model lay shapes nothing; the hash of what it held says which it was.
    placed = spec | {"model": {key: value for key, value in given.items() if key != "path"}}
    return write_manifest(out, stage="run", params=placed, inputs={"tokenizer": manifest}, files=files, counts=counts)


def _fetch(name: str, revision: str) -> Path:
    """A folder in the hub's cache with a model's description and safetensors; no pickles and no code."""
    repository = Repository(
        section="model", name=name, revision=revision, error=TrainingError, instead="give a folder as model.path"
    )
    folder = repository.folder(_FILES)
    for needed in ("config.json", "*.safetensors", "tokenizer.json"):
        if not any(folder.glob(needed)):
            raise TrainingError(
                f"{repository}: has no {needed}; save the model with its tokenizer in that form, and give the folder "
                "as model.path"
            )
    return folder


def _adopt(folder: Path, spec: dict[str, Any], tokenizer: Manifest) -> Any:
    """A model from elsewhere that knows the tokens that the shards are made of; rows may be left over at the end."""
    model = load_pretrained_model(folder)
    config, size = model.config, tokenizer.counts["vocab_size"]
    if config.vocab_size < size:
        raise TrainingError(f"{folder}: has {config.vocab_size} embeddings, but data/tokenizer has {size} entries")
    theirs = folder / "tokenizer.json"
    if not theirs.is_file():
        raise TrainingError(
            f"{theirs}: no such file, so whether the model knows the tokens of the shards cannot be told; save its "
            "tokenizer beside the weights, as AutoTokenizer's save_pretrained does"
        )
    if parts := _differences(theirs, tokenizer.folder / "tokenizer.json"):
        how = "tokenizer.path to this file" if "path" in spec["model"] else "tokenizer.hub and .revision as model's"
        raise TrainingError(
            f"{theirs}: makes other tokens of a text than data/tokenizer, of which the shards are: {', '.join(parts)} "
            f"differ; set {how}"
        )
    if config.max_position_embeddings < spec["context_length"]:
        raise TrainingError(
            f"{folder}: takes {config.max_position_embeddings} tokens, but train.context_length is "
            f"{spec['context_length']}; lower that"
        )
    config.bos_token_id = config.eos_token_id = tokenizer.counts["end_of_text"]
    model.generation_config = GenerationConfig.from_model_config(config)
    # A resumed run could not draw what the straight one drew; and who sees a text once needs no dropout.
    for key, value in vars(config).items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    return model


def _differences(one: Path, other: Path) -> list[str]:
    """The parts of two tokenizer.json that make tokens of a text, where they are not the same."""
    ours, theirs = _parts(one), _parts(other)
    return [part for part in ours if ours[part] != theirs.get(part)]


def _parts(path: Path) -> dict[str, Any]:
    # As the library writes it, whichever of its versions wrote the file. What truncates, pads, decodes or adds tokens
    # around a text is of no account here.
    try:
        read = json.loads(Tokenizer.from_file(str(path)).to_str())
    except Exception as error:  # the library has no class of its own for it
        raise TrainingError(f"{path}: not a tokenizer.json that tokenizers can load: {error}") from None
    added = sorted(read.pop("added_tokens"), key=lambda token: int(token["id"]))
    beside = {part: read[part] for part in ("normalizer", "pre_tokenizer")}
    return {**read["model"], **beside, "added_tokens": added}
