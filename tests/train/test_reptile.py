"""Reptile beside a twin written by hand in NumPy, with AdamW between the interpolations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palimpsest.train.reptile import Reptile

LEARNING_RATE, BETAS, EPSILON, DECAY = 0.05, (0.9, 0.95), 1e-8, 0.1
rng = np.random.default_rng(0)
A = np.eye(6) + 0.3 * rng.normal(size=(6, 6))
A = A @ A.T
B = rng.normal(size=6)
START = rng.normal(size=6)


def twin(steps: int, interval: int, step_size: float) -> np.ndarray:
    """Float64 weights after each step: AdamW on ½wᵀAw - bᵀw, interpolated every ``interval`` steps and at the end."""
    weights, anchor, first, second, trace = START.copy(), START.copy(), np.zeros(6), np.zeros(6), []
    for step in range(1, steps + 1):
        gradient = A @ weights - B
        weights = weights * (1 - LEARNING_RATE * DECAY)
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        unbiased = first / (1 - BETAS[0] ** step), second / (1 - BETAS[1] ** step)
        weights = weights - LEARNING_RATE * unbiased[0] / (np.sqrt(unbiased[1]) + EPSILON)
        if step % interval == 0 or step == steps:
            weights = anchor + step_size * (weights - anchor)
            anchor = weights.copy()
        trace.append(weights.copy())
    return np.array(trace)


def ours(steps: int, interval: int | None, step_size: float) -> np.ndarray:
    """The same with torch's AdamW and our Reptile; interval None is plain training."""
    weights = torch.nn.Parameter(torch.tensor(START, dtype=torch.float32))
    matrix, vector = torch.tensor(A, dtype=torch.float32), torch.tensor(B, dtype=torch.float32)
    optimizer = torch.optim.AdamW([weights], lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, weight_decay=DECAY, fused=True)
    reptile = Reptile([weights], interval, step_size) if interval else None
    trace = []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        (0.5 * weights @ matrix @ weights - vector @ weights).backward()
        optimizer.step()
        if reptile:
            reptile.after_step(step, last=step == steps)
        trace.append(weights.detach().numpy().copy())
    return np.array(trace)


@pytest.mark.parametrize(("interval", "step_size"), [(7, 0.1), (7, 0.5), (1, 0.3), (50, 0.9), (64, 0.25)])
def test_equals_the_twin_at_every_step(interval: int, step_size: float) -> None:
    """100 steps: 7 and 64 leave a partial window at the end. Each step after an interpolation starts from it."""
    np.testing.assert_allclose(ours(100, interval, step_size), twin(100, interval, step_size), rtol=2e-4, atol=2e-5)


def test_step_size_1_is_plain_training_to_the_bit() -> None:
    assert np.array_equal(ours(50, 7, 1.0), ours(50, None, 1.0))


def test_step_size_0_restores_the_anchor_to_the_bit() -> None:
    trace = ours(50, 10, 0.0)
    start = START.astype(np.float32)
    for step in range(1, 51):
        assert np.array_equal(trace[step - 1], start) == (step % 10 == 0)


def test_the_next_optimiser_step_starts_from_the_interpolated_weights() -> None:
    """A step on zero gradients only decays the weights: whatever it started from is seen in the result."""
    weights = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weights], lr=0.1, weight_decay=0.5, fused=True)
    reptile = Reptile([weights], 1, 0.25)
    with torch.no_grad():
        weights.add_(8)
    assert reptile.after_step(1, last=False)
    assert torch.equal(weights, torch.full((4,), 3.0))
    weights.grad = torch.zeros(4)
    optimizer.step()
    torch.testing.assert_close(weights.detach(), torch.full((4,), 3.0 * (1 - 0.1 * 0.5)))


def test_weights_in_a_lower_precision_are_refused() -> None:
    with pytest.raises(ValueError, match="fp32"):
        Reptile([torch.zeros(2, dtype=torch.bfloat16)], 5, 0.5)
