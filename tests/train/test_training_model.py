"""A pass through the model: precision, documents in a packed sequence, and recomputation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.training import TRAIN
from torch import Tensor

from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.reptile import Reptile
from palimpsest.train.wrap.training_model import TrainingModel, document_positions

END = 0
Load = Callable[..., TrainingModel]


@pytest.fixture
def load(root: Path) -> Load:
    """Loads the model after English with some settings."""

    def run(**settings: Any) -> TrainingModel:
        return TrainingModel.load(root / "en", replace(TRAIN, **settings), ProcessGroup(1), END)

    return run


@pytest.fixture
def rows() -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(1, 300, size=(3, 17)))


def mean_loss(model: TrainingModel, rows: Tensor) -> Tensor:
    """Per token of ``rows`` [n, length + 1]."""
    return model.losses(rows, torch.full((len(rows),), 1 / rows[:, 1:].numel()))[0]


def losses_of(model: TrainingModel, row: list[int]) -> Tensor:
    return model.losses(torch.tensor([row]), torch.ones(1))[1][0]


def gradients_of(model: TrainingModel, rows: Tensor) -> dict[str, Tensor]:
    mean_loss(model, rows).backward()
    return {name: weight.grad.clone() for name, weight in model.weights.items() if weight.grad is not None}


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=3))
def test_positions_start_again_with_each_document(rows: list[list[int]]) -> None:
    expected = []
    for row in rows:
        position, positions = -1, []
        for token in row:
            position = 0 if token == END else position + 1
            positions.append(position)
        expected.append(positions)
    assert document_positions(torch.tensor(rows), END).tolist() == expected


def test_the_loss_of_a_document_in_a_packed_sequence_is_its_loss_alone(load: Load) -> None:
    """Four documents, the first cut by the beginning of the row, and an empty one among them."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 300, size=size).tolist() for size in (4, 0, 6, 3)]
    packed = documents[0] + [END] + documents[1] + [END] + documents[2] + [END] + documents[3] + [END]
    plain, masked = load(), load(document_mask=True)
    found, unmasked = losses_of(masked, packed), losses_of(plain, packed)
    assert not torch.allclose(found[5:], unmasked[5:], atol=1e-3)
    begin = 0
    for number, document in enumerate(documents):
        row = ([] if number == 0 else [END]) + document + [END]
        expected = losses_of(plain, row)
        torch.testing.assert_close(found[begin : begin + len(expected)], expected, rtol=1e-5, atol=1e-5)
        begin += len(expected)
    assert begin == len(found)


def test_bf16_rounds_the_passes_but_neither_weights_nor_gradients(load: Load, rows: Tensor) -> None:
    exact, rounded = gradients_of(load(), rows), gradients_of(load(precision="bf16"), rows)
    for name in exact:
        assert rounded[name].dtype == torch.float32
        assert not torch.equal(exact[name], rounded[name])
        assert (exact[name] - rounded[name]).norm() < 0.05 * exact[name].norm()


def test_reptile_under_bf16_acts_on_fp32_weights_and_the_next_step_starts_from_them(load: Load, rows: Tensor) -> None:
    model = load(precision="bf16")
    weights = list(model.weights.values())
    before = [weight.detach().clone() for weight in weights]
    optimizer, reptile = torch.optim.SGD(weights, lr=0.1), Reptile(weights, 1, 0.3)
    mean_loss(model, rows).backward()
    optimizer.step()
    stepped = [weight.detach().clone() for weight in weights]
    assert reptile.after_step(1, last=False)
    interpolated = [torch.lerp(old, new, 0.3) for old, new in zip(before, stepped, strict=True)]
    assert all(map(torch.equal, weights, interpolated))
    assert not any(torch.equal(weight, weight.bfloat16().float()) for weight in weights if weight.ndim == 2)
    optimizer.zero_grad()
    mean_loss(model, rows).backward()
    optimizer.step()
    for weight, start in zip(weights, interpolated, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.detach(), start - 0.1 * weight.grad, rtol=1e-6, atol=1e-8)


def test_recomputed_activations_change_no_bit(load: Load, rows: Tensor) -> None:
    stored, recomputed = gradients_of(load(), rows), gradients_of(load(activation_checkpointing=True), rows)
    assert all(torch.equal(stored[name], recomputed[name]) for name in stored)
