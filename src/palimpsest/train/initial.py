"""The first checkpoint of every lineage, before any training here: random weights, or a model from elsewhere."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from palimpsest.artifact import Manifest, read_manifest, write_manifest
from palimpsest.errors import TrainingError
from palimpsest.flops import training_flops_per_token
from palimpsest.model import initial_model, pretrained_model, save_model

logger = logging.getLogger(__name__)


def build(spec: dict[str, Any], tokenizer: Path, out: Path) -> Manifest:
    """Write runs/{root} for the tokenizer folder's vocabulary."""
    manifest = read_manifest(tokenizer, "tokenizer")
    if "path" in spec["model"]:
        model = _adopt(Path(os.path.expanduser(os.path.expandvars(spec["model"]["path"]))), spec, manifest)
    else:
        vocab_size, end_of_text = manifest.counts["vocab_size"], manifest.counts["end_of_text"]
        model = initial_model(spec["model"], spec["context_length"], vocab_size, end_of_text, spec["seed"])
    counts = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "training_flops_per_token": training_flops_per_token(model.config, spec["context_length"]),
    }
    logger.info("%s parameters, %s training FLOPs per token", *(f"{value:,}" for value in counts.values()))
    files = save_model(model, out, tokenizer)
    return write_manifest(out, stage="run", params=spec, inputs={"tokenizer": manifest}, files=files, counts=counts)


def _adopt(folder: Path, spec: dict[str, Any], tokenizer: Manifest) -> Any:
    """A model from elsewhere that knows the tokens that the shards are made of; rows may be left over at the end."""
    model = pretrained_model(folder)
    config, size = model.config, tokenizer.counts["vocab_size"]
    if config.vocab_size < size:
        raise TrainingError(f"{folder}: has {config.vocab_size} embeddings, but data/tokenizer has {size} entries")
    theirs = folder / "tokenizer.json"
    if theirs.is_file() and _vocabulary(theirs) != _vocabulary(tokenizer.folder / "tokenizer.json"):
        raise TrainingError(f"{theirs}: has other tokens than the shards; set tokenizer.path to this file")
    if config.max_position_embeddings < spec["context_length"]:
        raise TrainingError(
            f"{folder}: takes {config.max_position_embeddings} tokens, but train.context_length is "
            f"{spec['context_length']}; lower that"
        )
    config.bos_token_id = config.eos_token_id = tokenizer.counts["end_of_text"]
    return model


def _vocabulary(path: Path) -> dict[str, int]:
    return Tokenizer.from_file(str(path)).get_vocab()
