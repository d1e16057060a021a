"""Norms and rotations as single steps of autograd, beside transformers' own."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from palimpsest.model import llama_cpu
from palimpsest.train.wrap.training_model import document_positions


@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_losses_and_gradients_are_those_of_transformers(key_heads, masked):
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=key_heads, attn_implementation="sdpa", use_cache=False,
        )
    )  # fmt: skip
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    rows = torch.randint(0, 5, (3, 12))
    positions = document_positions(rows, 0) if masked else None

    def gradients():
        model.zero_grad()
        loss = model(input_ids=rows, position_ids=positions, labels=rows).loss
        loss.backward()
        return [loss.detach(), *(weight.grad.clone() for weight in model.parameters())]

    expected = gradients()
    llama_cpu.attach(model)
    found = gradients()
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other, rtol=2e-4, atol=2e-6)


def test_the_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    hidden, gain = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 6), (6,)))
    assert torch.autograd.gradcheck(lambda x, w: llama_cpu._Norm.apply(x, w, 1e-6), (hidden, gain))
    angles = torch.rand(1, 3, 5, 2, dtype=torch.float64)
    turns = torch.polar(torch.ones_like(angles), angles)
    for heads in (5, 1):
        entries = torch.randn(2, 3, heads * 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: llama_cpu._Rotation.apply(x.clone(), turns), (entries,))
