"""The loss of the output layer in chunks, beside torch's own on all logits at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, OlmoConfig, OlmoForCausalLM, Qwen2Config, Qwen2ForCausalLM

from palimpsest.model import chunked_cross_entropy as chunked
from palimpsest.model.chunked_cross_entropy import chunked_cross_entropy
from palimpsest.model.hf_checkpoint import load_model

WIDTH, VOCABULARY = 8, 37


def whole(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    losses = F.cross_entropy((hidden @ weight.t()).flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    return (losses.sum(dim=1) * weights).sum(), losses


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 8), st.integers(0, 2**16))
def test_chunks_give_the_losses_and_gradients_of_the_whole(n: int, length: int, chunk: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, length, WIDTH, generator=generator, dtype=torch.float32)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    targets = torch.randint(0, VOCABULARY, (n, length), generator=generator)
    weights = torch.rand(n, generator=generator) * torch.randint(0, 2, (n,), generator=generator)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(chunked._MAX_LOGITS, "cpu", chunk * VOCABULARY)
        patch.setattr(chunked, "_MIN_CHUNK", 1)
        functions: list[Callable[..., tuple[Tensor, Tensor]]] = [whole, chunked_cross_entropy]
        for function in functions:
            leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
            total, losses = function(*leaves, targets, weights)
            (total * 3).backward()
            found.append([total.detach(), losses.detach(), *(leaf.grad for leaf in leaves)])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "kind"),
    [(LlamaConfig, LlamaForCausalLM), (Qwen2Config, Qwen2ForCausalLM), (OlmoConfig, OlmoForCausalLM)],
)
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_has_the_loss_and_gradients_that_it_has_without(
    tmp_path: Path, config: Any, kind: Any, tied: bool
) -> None:
    """Llama is our own; the logits of Qwen2 are its last hidden states times lm_head; those of Olmo may be clipped."""
    torch.manual_seed(0)
    model = kind(
        config(
            vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, tie_word_embeddings=tied, pad_token_id=None,
        )
    )  # fmt: skip
    rows, weights = torch.randint(0, VOCABULARY, (3, 11)), torch.tensor([0.5, 0.0, 2.0])
    logits = model(input_ids=rows[:, :-1]).logits
    expected = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none").view(3, 10)
    (expected.sum(dim=1) * weights).sum().backward()
    gradients = [weight.grad.clone() for weight in model.parameters()]
    model.save_pretrained(tmp_path)
    model = load_model(tmp_path, torch.device("cpu"))
    torch.testing.assert_close(model(input_ids=rows[:, :-1]).logits, logits)
    total, losses = model(input_ids=rows[:, :-1], targets=rows[:, 1:], weights=weights)
    total.backward()
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-6)
    for weight, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-6)


def test_under_autocast_products_are_bf16_and_sums_and_gradients_fp32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(2, 50, WIDTH, requires_grad=True), torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    targets, weights = torch.randint(0, VOCABULARY, (2, 50)), torch.ones(2)
    exact, _ = whole(hidden, weight, targets, weights)
    exact.backward()
    assert hidden.grad is not None and weight.grad is not None
    gradients = [hidden.grad.clone(), weight.grad.clone()]
    hidden.grad = weight.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, losses = chunked_cross_entropy(hidden, weight, targets, weights)
    total.backward()
    assert hidden.grad is not None and weight.grad is not None
    assert total.dtype == losses.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    assert total != exact
    for found, expected in zip([hidden.grad, weight.grad], gradients, strict=True):
        assert 0 < (found - expected).norm() < 0.02 * expected.norm()
