"""The count of FLOPs against PyTorch's, which looks at the operations that really run.

Counted are matrix products, two operations for a multiply and an add: the projections of attention and MLP, queries
times keys and weights times values over the whole context, and the output layer over the whole vocabulary. Not counted
are norms, activations, softmax, rotary angles, the loss, the optimiser and the embedding, which is a look-up. A tied
embedding saves parameters, not FLOPs. Tensors without storage (device meta) let the true sizes be counted.
"""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from palimpsest.model.flops import forward_flops_per_token, training_flops_per_token
from palimpsest.model.llama_config import llama_config
from palimpsest.settings.model import PRESETS
from palimpsest.specs.training import RandomModel

LLAMA_3 = 128_256  # entries of the vocabulary that the paper uses
BATCH = 3


def counted(config: LlamaConfig, context: int, attention: str) -> tuple[int, int]:
    """(FLOPs of a forward pass, of forward and backward pass) of ``BATCH`` sequences, as PyTorch counts them."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        ids = torch.zeros(BATCH, context, dtype=torch.long)
        mask = torch.zeros(BATCH, 1, context, context)
    model.set_attn_implementation(attention)
    with FlopCounterMode(display=False) as counter:
        loss = model(input_ids=ids, attention_mask=mask).logits.sum()
        forward = counter.get_total_flops()
        loss.backward()
    return forward, counter.get_total_flops()


def config_of(preset: str, vocab: int, context: int, tied: bool = False, **changed: int) -> LlamaConfig:
    layers, width, heads, ffn = PRESETS[preset]
    shape = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "intermediate_size": ffn}
    return LlamaConfig(
        vocab_size=vocab, max_position_embeddings=context, tie_word_embeddings=tied, use_cache=False, **shape | changed
    )


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("preset", ["nano", "tiny", "small"])
def test_the_small_presets_count_as_torch_counts_them(preset: str, tied: bool, attention: str) -> None:
    config, context = config_of(preset, 2048, 128, tied), 128
    tokens = BATCH * context
    expected = tokens * forward_flops_per_token(config, context), tokens * training_flops_per_token(config, context)
    assert counted(config, context, attention) == expected


@pytest.mark.parametrize(("preset", "context"), [("99M", 2048), ("560M", 2048), ("1B", 512), ("6B", 512)])
def test_the_papers_models_at_full_size(preset: str, context: int) -> None:
    """All blocks are alike, so that four of them, and the true vocabulary, tell all."""
    config = config_of(preset, LLAMA_3, context, num_hidden_layers=4)
    tokens = BATCH * context
    expected = tokens * forward_flops_per_token(config, context), tokens * training_flops_per_token(config, context)
    assert counted(config, context, "eager") == expected


def test_grouped_queries_and_heads_of_their_own_width() -> None:
    config = config_of("tiny", 1000, 64, num_key_value_heads=2, head_dim=48)
    forward, _ = counted(config, 64, "eager")
    assert forward == BATCH * 64 * forward_flops_per_token(config, 64)


def test_the_model_that_training_builds_counts_the_same_tied_and_untied() -> None:
    shape = RandomModel(layers=2, width=32, heads=2, ffn=48, tie_embeddings=False)
    tied, untied = (
        llama_config(replace(shape, tie_embeddings=tie), context_length=16, vocab_size=97) for tie in (True, False)
    )  # fmt: skip
    # By hand: two blocks of four 32 × 32 projections, three 32 × 48 matrices, 2 · 16 · 32 for attention; then 32 × 97.
    by_hand = 2 * (2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 16 * 32) + 32 * 97)
    assert forward_flops_per_token(tied, 16) == forward_flops_per_token(untied, 16) == by_hand
    assert training_flops_per_token(tied, 16) == 3 * by_hand
