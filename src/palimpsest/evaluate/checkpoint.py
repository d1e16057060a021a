"""A checkpoint's row of the loss matrix: its held-out loss on every language, document by document."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palimpsest.artifact import Manifest, read_manifest, write_json, write_manifest
from palimpsest.losses import document_losses, take_documents
from palimpsest.model import best_device, load_model
from palimpsest.tokens.sequences import Documents

logger = logging.getLogger(__name__)


def build(spec: dict[str, Any], run: Path, tokenizer: Path, tokens: dict[str, Path], out: Path) -> Manifest:
    """Write results/evaluation/{lineage}: nats, tokens and bytes of every held-out document by language."""
    settings = spec["evaluate"]
    inputs = {"run": read_manifest(run, "run"), "tokenizer": read_manifest(tokenizer, "tokenizer")}
    torch.set_num_threads(spec["threads"])
    torch.use_deterministic_algorithms(True)
    model = load_model(run, best_device())
    token_bytes = np.load(tokenizer / "token_bytes.npy", allow_pickle=False)
    found, counts = {}, {}
    for language in spec["languages"]:
        inputs[f"tokens/{language}"] = read_manifest(tokens[language], "tokens")
        documents = Documents(tokens[language], "validation")
        losses = document_losses(
            model,
            take_documents(documents, settings["max_tokens"], settings["max_document_tokens"]),
            end_of_text=documents.end_of_text,
            token_bytes=token_bytes,
            context_length=spec["context_length"],
            batch_size=settings["batch_size"],
        )
        found[language] = {
            "nats": losses.nats.tolist(),
            "tokens": losses.tokens.tolist(),
            "bytes": losses.bytes.tolist(),
        }
        counts[language] = {"nats_per_token": losses.nats_per_token, "bits_per_byte": losses.bits_per_byte}
        logger.info("%s: %.4f nats per token, %.4f bits per byte", language, *counts[language].values())
    write_json(out / "losses.json", found)
    return write_manifest(
        out, stage="evaluation", params=spec, inputs=inputs, files=[out / "losses.json"], counts=counts
    )
