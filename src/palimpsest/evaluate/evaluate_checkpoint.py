"""Stage evaluate: the held-out loss of a checkpoint on every language, per document, and samples of its text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from palimpsest.artifact import Manifest, read_manifest, write_manifest
from palimpsest.codec import fingerprint_fields
from palimpsest.evaluate.generate_samples import generate_samples
from palimpsest.evaluate.results.checkpoint_results import (
    CheckpointEvaluation,
    LanguageLosses,
    Sample,
    write_evaluation,
)
from palimpsest.model.devices import best_device, configure_torch
from palimpsest.model.held_out_loss import DocumentLosses, document_losses, take_documents
from palimpsest.model.hf_checkpoint import load_model
from palimpsest.model.llama import Llama
from palimpsest.progress import Progress
from palimpsest.specs.evaluation import EvaluationSpec
from palimpsest.tokens.sequences import Documents


def evaluate_checkpoint(
    spec: EvaluationSpec, run: Path, tokenizer: Path, tokens: Mapping[str, Path], out: Path
) -> Manifest:
    """Write results/evaluation/{lineage}: nats, tokens and bytes per held-out document, and samples."""
    inputs = {"run": read_manifest(run, "run"), "tokenizer": read_manifest(tokenizer, "tokenizer")}
    inputs["run"].check("model.safetensors")
    configure_torch(spec.threads)
    model = load_model(run, best_device())
    token_bytes = np.load(tokenizer / "token_bytes.npy", allow_pickle=False)
    encoding = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    losses: dict[str, LanguageLosses] = {}
    samples: dict[str, tuple[Sample, ...]] = {}
    counts = {}
    with Progress("evaluation", total=len(spec.languages), unit="languages") as progress:
        for language in spec.languages:
            inputs[f"tokens/{language}"] = read_manifest(tokens[language], "tokens")
            documents = Documents(tokens[language], "validation")
            found = _document_losses(spec, model, documents, token_bytes)
            losses[language] = _plain(found)
            counts[language] = {"nats_per_token": found.nats_per_token, "bits_per_byte": found.bits_per_byte}
            if spec.sample_tokens:
                samples[language] = generate_samples(
                    model, encoding, documents, documents.end_of_text, spec.context_length, spec.sample_tokens
                )
            progress.update(len(losses), f"{language} {found.nats_per_token:.4f} nats per token")
    files = write_evaluation(out, CheckpointEvaluation(losses=losses, samples=samples))
    return write_manifest(
        out, stage="evaluation", params=fingerprint_fields(spec), inputs=inputs, files=files, counts=counts
    )


def _document_losses(
    spec: EvaluationSpec, model: Llama, documents: Documents, token_bytes: np.ndarray
) -> DocumentLosses:
    return document_losses(
        model,
        take_documents(documents, spec.max_tokens, spec.max_document_tokens),
        end_of_text=documents.end_of_text,
        token_bytes=token_bytes,
        context_length=spec.context_length,
        batch_size=spec.batch_size,
    )


def _plain(losses: DocumentLosses) -> LanguageLosses:
    return LanguageLosses(
        nats=tuple(losses.nats.tolist()), tokens=tuple(losses.tokens.tolist()), bytes=tuple(losses.bytes.tolist())
    )
