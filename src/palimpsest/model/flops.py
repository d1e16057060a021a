"""Exact floating-point operations of a Llama: matrix products only, a multiply and an add counted as two.

Attention is counted over the whole context, as the PaLM paper does (Chowdhery et al. 2022, appendix B), though the
causal half is masked. A training step costs three times the forward pass: one for it, two for the gradients.
"""

from __future__ import annotations

from typing import Protocol


class ModelShape(Protocol):
    """The sizes that the count depends on, by the names of transformers' LlamaConfig."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""

    @property
    def intermediate_size(self) -> int:
        """Width of the MLP."""

    @property
    def num_hidden_layers(self) -> int:
        """Transformer blocks."""

    @property
    def num_attention_heads(self) -> int:
        """Query heads."""

    @property
    def num_key_value_heads(self) -> int:
        """Key and value heads."""

    @property
    def head_dim(self) -> int:
        """Width of a head."""


def forward_flops_per_token(config: ModelShape, context_length: int) -> int:
    """FLOPs of the forward pass per token."""
    width, ffn, head = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    projections = 2 * width * (2 * queries + 2 * keys)
    attention = 2 * 2 * context_length * queries
    mlp = 3 * 2 * width * ffn
    return config.num_hidden_layers * (projections + attention + mlp) + 2 * width * config.vocab_size


def training_flops_per_token(config: ModelShape, context_length: int) -> int:
    """FLOPs of forward and backward pass per token."""
    return 3 * forward_flops_per_token(config, context_length)
