"""Our Llama beside transformers', to the bit; its CPU kernels beside the plain forms and finite differences."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from palimpsest.errors import TrainingError
from palimpsest.model import llama_cpu
from palimpsest.model.hf_checkpoint import load_model
from palimpsest.model.llama import Llama, document_mask, use_cpu_kernels
from palimpsest.model.llama_config import llama_config, read_llama_config
from palimpsest.specs.training import RandomModel

SHAPE = {
    "vocab_size": 50, "hidden_size": 48, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0, "attn_implementation": "sdpa",
}  # fmt: skip
# Three documents, the first of them cut by the beginning of the row; one document; documents of one token.
POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 0, 1], list(range(10)), [0] * 10])


def save_reference(folder: Path, **changes: Any) -> Any:
    """A Llama of transformers with weights large enough to tell rounding errors from equality."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE | changes))
    for weight in model.parameters():
        nn.init.normal_(weight, mean=0.1, std=0.3)
    model.save_pretrained(folder)
    return model


def token_ids() -> Tensor:
    return torch.randint(0, 50, POSITIONS.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 2}, {"tie_word_embeddings": True}, {"head_dim": 8}])
@pytest.mark.parametrize("positions", [None, POSITIONS, POSITIONS[1:2].expand(3, -1)])
@pytest.mark.parametrize("bf16", [False, True])
def test_logits_and_gradients_are_those_of_transformers_to_the_bit(
    tmp_path: Path, changes: dict[str, Any], positions: Tensor | None, bf16: bool
) -> None:
    theirs = save_reference(tmp_path, **changes)
    ours = load_model(tmp_path, torch.device("cpu"))
    assert isinstance(ours, Llama)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    found = []
    for model in (theirs, ours):
        model.train()
        with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
            logits = model(input_ids=token_ids(), position_ids=positions, use_cache=False).logits
        logits.float().log_softmax(-1).square().mean().backward()
        found.append([logits.detach(), *(weight.grad for weight in model.parameters())])
    for expected, value in zip(*found, strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 2}])
@torch.no_grad()
def test_a_cache_of_keys_and_values_gives_the_logits_of_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    theirs, ours = save_reference(tmp_path, **changes).eval(), load_model(tmp_path, torch.device("cpu"))
    ids, caches = token_ids(), [None, None]
    for part in (ids[:, :6], ids[:, 6:7], ids[:, 7:8]):
        outputs = [
            model(input_ids=part, past_key_values=cache, use_cache=True)
            for model, cache in zip((theirs, ours), caches, strict=True)
        ]
        assert torch.equal(outputs[0].logits, outputs[1].logits)
        caches = [output.past_key_values for output in outputs]
    with pytest.raises(ValueError, match="one token at a time, not 2"):
        ours(input_ids=ids[:, 8:], past_key_values=caches[1], use_cache=True)


def test_a_document_sees_itself_alone() -> None:
    mask = document_mask(POSITIONS)
    assert mask is not None and mask.shape == (3, 1, 10, 10)
    starts = [0, 0, 0, 3, 3, 3, 3, 3, 8, 8]
    for query in range(10):
        assert mask[0, 0, query].nonzero()[:, 0].tolist() == list(range(starts[query], query + 1))
        assert mask[2, 0, query].nonzero()[:, 0].tolist() == [query]
    assert document_mask(POSITIONS[1:2]) is None


def test_recomputed_activations_change_no_bit(tmp_path: Path) -> None:
    save_reference(tmp_path)
    gradients = []
    for recompute in (False, True):
        model = load_model(tmp_path, torch.device("cpu")).train()
        calls: list[nn.Module] = []
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        for block in model.model.layers:
            block.register_forward_pre_hook(lambda module, *_, calls=calls: calls.append(module))
        model(input_ids=token_ids()).logits.square().mean().backward()
        assert len(calls) == (6 if recompute else 3)
        gradients.append([weight.grad for weight in model.parameters()])
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 2}])
@pytest.mark.parametrize("positions", [None, POSITIONS])
def test_cpu_kernels_give_the_losses_and_gradients_of_the_plain_forms(
    tmp_path: Path, changes: dict[str, Any], positions: Tensor | None
) -> None:
    save_reference(tmp_path, **changes)
    found = []
    for use_kernels in (False, True):
        model = load_model(tmp_path, torch.device("cpu"))
        if use_kernels:
            use_cpu_kernels(model)
        logits = model(input_ids=token_ids(), position_ids=positions).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), token_ids().flatten())
        loss.backward()
        found.append([loss.detach(), *(weight.grad for weight in model.parameters())])
    assert not all(map(torch.equal, *found))
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=2e-4, atol=2e-6)


def test_the_gradients_of_cpu_kernels_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    hidden, weight = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 6), (6,)))
    assert torch.autograd.gradcheck(lambda x, w: llama_cpu.rms_norm(x, w, 1e-6), (hidden, weight))
    angles = torch.rand(1, 3, 5, 2, dtype=torch.float64)
    freqs_cis = torch.polar(torch.ones_like(angles), angles)
    for heads in (5, 1):
        entries = torch.randn(2, 3, heads * 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: llama_cpu._Rotation.apply(x.clone(), freqs_cis), (entries,))


def test_the_parameters_are_counted_as_transformers_counts_them(tmp_path: Path) -> None:
    for changes in ({}, {"num_key_value_heads": 2}, {"tie_word_embeddings": True}, {"head_dim": 8}):
        expected = sum(weight.numel() for weight in save_reference(tmp_path, **changes).parameters())
        config = read_llama_config(tmp_path / "config.json")
        assert config is not None and config.parameters == expected
    shape = RandomModel(layers=3, width=48, heads=4, ffn=40, tie_embeddings=False)
    save_reference(tmp_path)
    assert llama_config(shape, context_length=64, vocab_size=50) == read_llama_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    ],
)
def test_what_it_does_not_compute_is_left_to_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    theirs = save_reference(tmp_path, **changes)
    assert read_llama_config(tmp_path / "config.json") is None
    ours = load_model(tmp_path, torch.device("cpu"))
    assert isinstance(ours, LlamaForCausalLM)
    assert torch.equal(ours(input_ids=token_ids()).logits, theirs.eval()(input_ids=token_ids()).logits)


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    save_reference(tmp_path / "one")
    save_reference(tmp_path / "other", num_hidden_layers=2).config.save_pretrained(tmp_path / "one")
    with pytest.raises(TrainingError, match=r"one: model\.safetensors does not hold the weights"):
        load_model(tmp_path / "one", torch.device("cpu"))
