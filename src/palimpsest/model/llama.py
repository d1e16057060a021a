"""Llama (Touvron et al. 2023) in plain PyTorch, under the tensor names of Hugging Face checkpoints.

transformers' LlamaForCausalLM computes the same, bit for bit (tests/model/test_llama.py), but importing it takes 3 s of
CPU, longer than a small evaluation. The interface is the part of transformers' that training and evaluation use, so
that models of other architectures can come from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.model import llama_cpu
from palimpsest.model.chunked_cross_entropy import chunked_cross_entropy
from palimpsest.model.llama_config import LlamaConfig

KeyValues = tuple[Tensor, Tensor]
# Above this head size, transformers repeats keys and values for grouped queries; torch's kernels need not.
_MAX_GROUPED_HEAD_DIM = 256


class CausalLMOutput(NamedTuple):
    """Logits [n, length, vocabulary], and the keys and values of each block where a cache was requested."""

    logits: Tensor
    past_key_values: list[KeyValues] | None


class Llama(nn.Module):
    """A causal language model; ``forward`` returns logits, or the loss where it is given targets."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.tie_weights()

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        past_key_values: list[KeyValues] | None = None,
        use_cache: bool = False,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> CausalLMOutput | tuple[Tensor, Tensor]:
        """Logits of ``input_ids`` [n, length]; with ``targets`` and ``weights``, ``chunked_cross_entropy``.

        ``position_ids`` [n, length] start again from 0 at each document, which then attends to itself alone; None: one
        document a row. ``past_key_values`` of an earlier call go before ``input_ids`` [n, 1].
        """
        hidden, cache = self.model(input_ids, position_ids, past_key_values, use_cache)
        if targets is not None and weights is not None:
            return chunked_cross_entropy(hidden, self.lm_head.weight, targets, weights)
        return CausalLMOutput(self.lm_head(hidden), cache)

    def tie_weights(self) -> None:
        """Let the output layer share the input embedding, where the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Compute the activations of each block again in the backward pass instead of keeping them."""
        self.model.checkpoint_kwargs = dict(gradient_checkpointing_kwargs or {})

    @property
    def base_model(self) -> Decoder:
        """The model without its output layer."""
        return self.model

    def get_input_embeddings(self) -> nn.Embedding:
        """The input embedding."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        """The output layer."""
        return self.lm_head


class Decoder(nn.Module):
    """Embedding, blocks, final norm."""

    inv_freq: Tensor

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Block(config) for _ in range(config.num_hidden_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        # On the CPU whatever the device of the weights: other devices round these powers differently.
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float, device="cpu") / config.head_dim
        self.register_buffer("inv_freq", 1.0 / config.rope_theta**exponents, persistent=False)
        self.checkpoint_kwargs: dict[str, Any] | None = None

    def forward(
        self, input_ids: Tensor, position_ids: Tensor | None, past: list[KeyValues] | None, use_cache: bool
    ) -> tuple[Tensor, list[KeyValues] | None]:
        """Hidden states [n, length, width] after the final norm; with ``use_cache``, each block's keys and values."""
        length, seen = input_ids.shape[1], past[0][0].shape[2] if past else 0
        if seen and length > 1:
            raise ValueError(f"after cached keys the model takes one token at a time, not {length}")
        mask = None if position_ids is None else document_mask(position_ids)
        if position_ids is None:
            position_ids = torch.arange(seen, seen + length, device=input_ids.device)[None]
        hidden = self.embed_tokens(input_ids)
        cos, sin = self._rotations(position_ids, hidden.dtype)
        cache: list[KeyValues] = []
        for index, block in enumerate(self.layers):
            arguments = (hidden, cos, sin, mask, past[index] if past else None, use_cache)
            if self.checkpoint_kwargs is not None and self.training:
                from torch.utils.checkpoint import checkpoint

                hidden, key_values = checkpoint(block, *arguments, **self.checkpoint_kwargs)
            else:
                hidden, key_values = block(*arguments)
            if use_cache:
                cache.append(key_values)
        return self.norm(hidden), cache if use_cache else None

    @torch.no_grad()
    def _rotations(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [n or 1, length, head_dim], the second half a copy of the first."""
        angles = position_ids[..., None].float() * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


class Block(nn.Module):
    """Attention and MLP, each after a norm and added to its input."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, hidden: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: KeyValues | None, use_cache: bool
    ) -> tuple[Tensor, KeyValues | None]:
        """Hidden states [n, length, width]; with ``use_cache``, the keys and values that they attended to."""
        mixed, key_values = self.self_attn(self.input_layernorm(hidden), cos, sin, mask, past, use_cache)
        hidden = hidden + mixed
        return hidden + self.mlp(self.post_attention_layernorm(hidden)), key_values


class Attention(nn.Module):
    """Causal attention with rotary positions and, where there are fewer key heads, grouped queries."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width, self.head_dim = config.hidden_size, config.head_dim
        queries, keys = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.group_size = config.num_attention_heads // config.num_key_value_heads
        self.q_proj = Linear(width, queries)
        self.k_proj = Linear(width, keys)
        self.v_proj = Linear(width, keys)
        self.o_proj = Linear(queries, width)
        self.use_cpu_kernels = False

    def forward(
        self, hidden: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: KeyValues | None, use_cache: bool
    ) -> tuple[Tensor, KeyValues | None]:
        """As of ``Block``; ``mask`` (bool [n, 1, length, length]) is None where all earlier tokens are seen."""
        n, length, _ = hidden.shape
        if self.use_cpu_kernels:
            queries, keys = llama_cpu.rotated_projections(hidden, self.q_proj, self.k_proj, cos, sin)
        else:
            queries, keys = (
                rotate(project(hidden).view(n, length, -1, self.head_dim).transpose(1, 2), cos, sin)
                for project in (self.q_proj, self.k_proj)
            )
        values = self.v_proj(hidden).view(n, length, -1, self.head_dim).transpose(1, 2)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        mixed = self._attend(queries, keys, values, mask)
        return self.o_proj(mixed.transpose(1, 2).reshape(n, length, -1)), (keys, values) if use_cache else None

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        is_grouped = self.group_size > 1
        # With a mask, CUDA's fast kernels do not take grouped queries.
        if is_grouped and (mask is not None or self.head_dim > _MAX_GROUPED_HEAD_DIM):
            keys, values = (part.repeat_interleave(self.group_size, dim=1) for part in (keys, values))
            is_grouped = False
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None and queries.shape[2] > 1,
            scale=self.head_dim**-0.5, enable_gqa=is_grouped,
        )  # fmt: skip


class MLP(nn.Module):
    """The gated MLP (Shazeer 2020)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = Linear(width, inner)
        self.up_proj = Linear(width, inner)
        self.down_proj = Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, length, width] in and out."""
        output: Tensor = self.down_proj(F.silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return output


class Linear(nn.Linear):
    """A linear layer without bias or initialisation: its weights come from a checkpoint.

    Initialising on device "meta" would import torch's compiler, a second of CPU.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Nothing."""


class Embedding(nn.Embedding):
    """An embedding without initialisation, like ``Linear``."""

    def reset_parameters(self) -> None:
        """Nothing."""


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) times a weight (Zhang and Sennrich 2019); computed in fp32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.epsilon = epsilon
        self.use_cpu_kernels = False

    def forward(self, hidden: Tensor) -> Tensor:
        """[…, width] in and out."""
        if self.use_cpu_kernels:
            return llama_cpu.rms_norm(hidden, self.weight, self.epsilon)
        exact = hidden.to(torch.float32)
        exact = exact * torch.rsqrt(exact.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * exact.to(hidden.dtype)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) of ``heads`` [n, heads, length, head_dim]."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def document_mask(position_ids: Tensor) -> Tensor | None:
    """Which tokens see which (bool [n, 1, length, length]); None where every row is one document."""
    document = (position_ids == 0).cumsum(dim=1)
    if bool((document[:, -1] == document[:, 0]).all()):
        return None
    length = position_ids.shape[1]
    is_earlier = torch.ones(length, length, dtype=torch.bool, device=position_ids.device).tril()
    return ((document[:, :, None] == document[:, None, :]) & is_earlier)[:, None]


def use_cpu_kernels(model: nn.Module) -> None:
    """Let a Llama's norms and rotations run as single steps of autograd; for fp32 on a CPU, without torch.compile."""
    for module in model.modules():
        if isinstance(module, RMSNorm | Attention):
            module.use_cpu_kernels = True
