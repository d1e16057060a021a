"""One checkpoint's row of the loss matrix, document by document, and samples of what it writes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from palimpsest.artifact import Manifest, read_manifest, write_json, write_manifest
from palimpsest.evaluate.generate import write_samples
from palimpsest.model.devices import best_device, configure_torch
from palimpsest.model.held_out_loss import DocumentLosses, document_losses, take_documents
from palimpsest.model.hf_checkpoint import load_model
from palimpsest.tokens.sequences import Documents

logger = logging.getLogger(__name__)


def build(spec: dict[str, Any], run: Path, tokenizer: Path, tokens: dict[str, Path], out: Path) -> Manifest:
    """Write results/evaluation/{lineage}: nats, tokens and bytes of every held-out document, and samples."""
    inputs = {"run": read_manifest(run, "run"), "tokenizer": read_manifest(tokenizer, "tokenizer")}
    configure_torch(spec["threads"])
    inputs["run"].check("model.safetensors")
    model = load_model(run, best_device())
    token_bytes = np.load(tokenizer / "token_bytes.npy", allow_pickle=False)
    words = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    found, samples, counts = {}, {}, {}
    for language in spec["languages"]:
        inputs[f"tokens/{language}"] = read_manifest(tokens[language], "tokens")
        documents = Documents(tokens[language], "validation")
        losses = _losses(spec, model, documents, token_bytes)
        found[language] = {key: getattr(losses, key).tolist() for key in ("nats", "tokens", "bytes")}
        counts[language] = {"nats_per_token": losses.nats_per_token, "bits_per_byte": losses.bits_per_byte}
        logger.info("%s: %.4f nats per token, %.4f bits per byte", language, *counts[language].values())
        if number := spec["evaluate"]["sample_tokens"]:
            samples[language] = write_samples(
                model, words, documents, documents.end_of_text, spec["context_length"], number
            )
    files = {"losses.json": found} | ({"samples.json": samples} if samples else {})
    for name, value in files.items():
        write_json(out / name, value)
    return write_manifest(
        out, stage="evaluation", params=spec, inputs=inputs, files=[out / name for name in files], counts=counts
    )


def _losses(spec: dict[str, Any], model: Any, documents: Documents, token_bytes: np.ndarray) -> DocumentLosses:
    settings = spec["evaluate"]
    return document_losses(
        model,
        take_documents(documents, settings["max_tokens"], settings["max_document_tokens"]),
        end_of_text=documents.end_of_text,
        token_bytes=token_bytes,
        context_length=spec["context_length"],
        batch_size=settings["batch_size"],
    )
