"""Llama's norms and rotations, each as one step of autograd, for fp32 on a CPU that compiles nothing.

There a pass through memory costs as much as a small matrix product, and transformers' modules make several for each
norm and rotation, autograd as many back. torch.compile does the same and more, but takes most of a minute to start.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm


def attach(model: Any) -> None:
    """Replace the forward passes of a Llama's norms and attention; other models stay as they are."""
    for module in model.modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = MethodType(_norm, module)
        elif isinstance(module, LlamaAttention):
            module.forward = MethodType(_attention, module)


def _norm(self: Any, hidden_states: Tensor) -> Any:
    return _Norm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]


def _attention(
    self: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    **_: Any,
) -> tuple[Any, None]:
    """``hidden_states`` [n, length, width]; ``position_embeddings``: cosines and sines, each half said twice."""
    n, length, _width = hidden_states.shape
    queries, keys, values = (
        project(hidden_states).view(n, length, -1, self.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj)
    )
    cosines, sines = (part[:, :, None, : self.head_dim // 2] for part in position_embeddings)
    queries, keys = (_Rotation.apply(part, cosines, sines) for part in (queries, keys))  # type: ignore[no-untyped-call]
    mixed = F.scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=attention_mask,
        is_causal=attention_mask is None,
        enable_gqa=queries.shape[2] != keys.shape[2],
    )
    return self.o_proj(mixed.transpose(1, 2).reshape(n, length, -1)), None


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x²) + ε) times a gain (Zhang and Sennrich 2019)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gain: Tensor, epsilon: float) -> Tensor:
        size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        inverse = size.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        normed = hidden * inverse
        ctx.save_for_backward(normed, inverse, gain)
        return torch.mul(normed, gain)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, inverse, gain = ctx.saved_tensors
        to_gain = (upstream[0] * normed).flatten(0, -2).sum(dim=0)
        to_normed = upstream[0] * gain
        along = torch.linalg.vecdot(to_normed, normed).unsqueeze(-1).div_(-normed.shape[-1])
        return to_normed.addcmul_(normed, along).mul_(inverse), to_gain, None


class _Rotation(torch.autograd.Function):
    """Rotary positions (Su et al. 2021), the first half of a head's entries paired with the second."""

    @staticmethod
    def forward(ctx: Any, entries: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _rotate(entries, cosines, sines)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _rotate(upstream[0], cosines, -sines), None, None


def _rotate(entries: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    one, other = entries.chunk(2, dim=-1)
    turned = torch.empty(entries.shape, dtype=entries.dtype, device=entries.device)
    first, second = turned.chunk(2, dim=-1)
    torch.mul(one, cosines, out=first).addcmul_(other, sines, value=-1)
    torch.mul(other, cosines, out=second).addcmul_(one, sines)
    return turned
