import numpy as np
import pytest
import torch

from palimpsest.losses import document_losses, take_documents
from palimpsest.model import initial_model

SHAPE = {"layers": 2, "width": 32, "heads": 2, "ffn": 48, "tie_embeddings": False}
VOCAB, CONTEXT = 97, 16


@pytest.fixture(scope="module")
def model():
    return initial_model(SHAPE, CONTEXT, VOCAB, 0, seed=3)


def test_losses_equal_those_of_one_document_at_a_time_without_padding(model):
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, VOCAB, size=size) for size in (1, 5, 16, 17, 40, 64)]
    token_bytes = rng.integers(1, 9, size=VOCAB).astype(np.int32)
    found = document_losses(
        model, documents, end_of_text=0, token_bytes=token_bytes, context_length=CONTEXT, batch_size=3
    )
    for place, document in enumerate(documents):
        row, nats = [0, *document.tolist()], 0.0
        for start in range(0, len(document), CONTEXT):
            window = torch.tensor(row[start : start + CONTEXT + 1])
            with torch.no_grad():
                chances = model(input_ids=window[None, :-1]).logits[0].double().log_softmax(-1)
            nats -= sum(float(chances[spot, token]) for spot, token in enumerate(window[1:].tolist()))
        assert found.nats[place] == pytest.approx(nats, rel=1e-6)
        assert found.tokens[place] == len(document)
        assert found.bytes[place] == sum(token_bytes[token] for token in document)
    assert found.bits_per_byte == pytest.approx(found.nats.sum() / np.log(2) / found.bytes.sum())


def test_take_documents_cuts_documents_and_the_whole():
    documents = [np.arange(10), np.arange(3), np.arange(8), np.arange(5)]
    taken = take_documents(iter(documents), 14, 6)
    assert [len(document) for document in taken] == [6, 3, 5]
