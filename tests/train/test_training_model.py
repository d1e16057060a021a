"""A pass through the model: precision, documents in a packed sequence, recomputation and compilation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.train.distributed.process_group import Ranks
from palimpsest.train.reptile import Reptile
from palimpsest.train.wrap.training_model import Network, document_positions

END = 0
SETTINGS = {
    "precision": "fp32", "document_mask": False, "activation_checkpointing": False, "compile": False, "sharding": "ddp",
}  # fmt: skip


@pytest.fixture
def network(root):
    def make(**settings):
        return Network(root / "en", SETTINGS | settings, Ranks(1), END)

    return make


@pytest.fixture
def rows():
    return torch.from_numpy(np.random.default_rng(1).integers(1, 300, size=(3, 17)))


def mean_loss(network, rows):
    """Per token of ``rows`` [n, length + 1]."""
    return network.losses(rows, torch.full((len(rows),), 1 / rows[:, 1:].numel()))[0]


def losses(network, row):
    return network.losses(torch.tensor([row]), torch.ones(1))[1][0]


def gradients(network, rows):
    mean_loss(network, rows).backward()
    return {name: weight.grad.clone() for weight, name in network.names.items()}


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=3))
def test_positions_begin_anew_with_each_document(rows):
    expected = []
    for row in rows:
        place, places = -1, []
        for token in row:
            place = 0 if token == END else place + 1
            places.append(place)
        expected.append(places)
    assert document_positions(torch.tensor(rows), END).tolist() == expected


def test_the_loss_of_a_document_in_a_packed_sequence_is_its_loss_alone(network):
    """Three documents, the first cut by the beginning of the row, and an empty one among them."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 300, size=size).tolist() for size in (4, 0, 6, 3)]
    packed = documents[0] + [END] + documents[1] + [END] + documents[2] + [END] + documents[3] + [END]
    alone, masked = network(), network(document_mask=True)
    found = losses(masked, packed)
    blind = losses(alone, packed)
    assert not torch.allclose(found[5:], blind[5:], atol=1e-3)
    begin = 0
    for number, document in enumerate(documents):
        row = ([] if number == 0 else [END]) + document + [END]
        expected = losses(alone, row)
        torch.testing.assert_close(found[begin : begin + len(expected)], expected, rtol=1e-5, atol=1e-5)
        begin += len(expected)
    assert begin == len(found)


def test_bf16_rounds_the_passes_but_neither_weights_nor_gradients(network, rows):
    exact, rounded = gradients(network(), rows), gradients(network(precision="bf16"), rows)
    for name in exact:
        assert rounded[name].dtype == torch.float32
        assert not torch.equal(exact[name], rounded[name])
        assert (exact[name] - rounded[name]).norm() < 0.05 * exact[name].norm()


def test_reptile_under_bf16_acts_on_fp32_weights_and_the_next_step_starts_from_them(network, rows):
    trained = network(precision="bf16")
    weights = list(trained.names)
    before = [weight.detach().clone() for weight in weights]
    optimizer, reptile = torch.optim.SGD(weights, lr=0.1), Reptile(weights, 1, 0.3)
    mean_loss(trained, rows).backward()
    optimizer.step()
    stepped = [weight.detach().clone() for weight in weights]
    assert reptile.after_step(1, last=False)
    interpolated = [torch.lerp(old, new, 0.3) for old, new in zip(before, stepped, strict=True)]
    assert all(map(torch.equal, weights, interpolated))
    assert not any(torch.equal(weight, weight.bfloat16().float()) for weight in weights if weight.ndim == 2)
    optimizer.zero_grad()
    mean_loss(trained, rows).backward()
    optimizer.step()
    for weight, start in zip(weights, interpolated, strict=True):
        torch.testing.assert_close(weight.detach(), start - 0.1 * weight.grad, rtol=1e-6, atol=1e-8)


def test_recomputed_activations_change_no_bit(network, rows):
    kept, again = gradients(network(), rows), gradients(network(activation_checkpointing=True), rows)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
