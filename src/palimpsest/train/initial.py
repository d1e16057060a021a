"""The first checkpoint of every lineage: a model with random weights, before any training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from palimpsest.artifact import Manifest, read_manifest, write_manifest
from palimpsest.flops import training_flops_per_token
from palimpsest.model import initial_model, save_model

logger = logging.getLogger(__name__)


def build(spec: dict[str, Any], tokenizer: Path, out: Path) -> Manifest:
    """Write runs/{root} for the tokenizer folder's vocabulary."""
    manifest = read_manifest(tokenizer, "tokenizer")
    vocab_size, end_of_text = manifest.counts["vocab_size"], manifest.counts["end_of_text"]
    model = initial_model(spec["model"], spec["context_length"], vocab_size, end_of_text, spec["seed"])
    counts = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "training_flops_per_token": training_flops_per_token(model.config, spec["context_length"]),
    }
    logger.info("%s parameters, %s training FLOPs per token", *(f"{value:,}" for value in counts.values()))
    files = save_model(model, out, tokenizer)
    return write_manifest(out, stage="run", params=spec, inputs={"tokenizer": manifest}, files=files, counts=counts)
