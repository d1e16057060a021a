"""Losses of documents in padded batches, beside those of one document at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from palimpsest.model.held_out_loss import document_losses, take_documents
from palimpsest.model.hf_checkpoint import random_llama
from palimpsest.model.llama_config import llama_config
from palimpsest.specs.training import RandomModel

SHAPE = RandomModel(layers=2, width=32, heads=2, ffn=48, tie_embeddings=False)
VOCAB, CONTEXT = 97, 16


@pytest.fixture(scope="module")
def model() -> Any:
    return random_llama(llama_config(SHAPE, context_length=CONTEXT, vocab_size=VOCAB), 0, seed=3)


def test_losses_equal_those_of_one_document_at_a_time_without_padding(model: Any) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, VOCAB, size=size) for size in (1, 5, 16, 17, 40, 64)]
    token_bytes = rng.integers(1, 9, size=VOCAB).astype(np.int32)
    found = document_losses(
        model, documents, end_of_text=0, token_bytes=token_bytes, context_length=CONTEXT, batch_size=3
    )
    for index, document in enumerate(documents):
        row, nats = [0, *document.tolist()], 0.0
        for start in range(0, len(document), CONTEXT):
            window = torch.tensor(row[start : start + CONTEXT + 1])
            with torch.no_grad():
                log_probs = model(input_ids=window[None, :-1]).logits[0].double().log_softmax(-1)
            nats -= sum(float(log_probs[spot, token]) for spot, token in enumerate(window[1:].tolist()))
        assert found.nats[index] == pytest.approx(nats, rel=1e-6)
        assert found.tokens[index] == len(document)
        assert found.bytes[index] == sum(token_bytes[token] for token in document)
    assert found.bits_per_byte == pytest.approx(found.nats.sum() / np.log(2) / found.bytes.sum())


def test_windows_share_a_pass_as_far_as_their_logits_have_room(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [np.arange(1, 1 + size) for size in (16, 16, 16, 16, 16, 40)]
    arguments: dict[str, Any] = {
        "end_of_text": 0,
        "token_bytes": np.ones(VOCAB, np.int32),
        "context_length": CONTEXT,
        "batch_size": 8,
    }
    expected, seen = document_losses(model, documents, **arguments), []
    monkeypatch.setattr("palimpsest.model.held_out_loss._MAX_LOGITS", 3 * (CONTEXT + 1) * VOCAB)
    hook = model.register_forward_pre_hook(lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True)
    found = document_losses(model, documents, **arguments)
    hook.remove()
    assert seen == [3, 3, 2]
    np.testing.assert_allclose(found.nats, expected.nats, rtol=1e-6)


def test_take_documents_cuts_documents_and_the_whole() -> None:
    documents = [np.arange(10), np.arange(3), np.arange(8), np.arange(5)]
    taken = take_documents(iter(documents), 14, 6)
    assert [len(document) for document in taken] == [6, 3, 5]
