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
    turns = torch.complex(*(part[:, :, None, : self.head_dim // 2] for part in position_embeddings))
    turns = turns.expand(-1, -1, self.q_proj.out_features // self.head_dim, -1).contiguous()
    queries, keys = (
        _Rotation.apply(F.linear(hidden_states, *_paired(project, self.head_dim)), turns)  # type: ignore[no-untyped-call]
        for project in (self.q_proj, self.k_proj)
    )
    queries, keys, values = (
        part.view(n, length, -1, self.head_dim) for part in (queries, keys, self.v_proj(hidden_states))
    )
    mixed = F.scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        attn_mask=attention_mask,
        is_causal=attention_mask is None,
        enable_gqa=queries.shape[2] != keys.shape[2],
    )
    return self.o_proj(mixed.transpose(1, 2).reshape(n, length, -1)), None


def _paired(project: Any, head_dim: int) -> list[Tensor]:
    """Weight and bias of a projection, its rows such that entries rotated together come out as neighbours.

    Queries and keys in another order have the same products, as long as it is the same for both.
    """
    return [
        part.view(-1, 2, head_dim // 2, *part.shape[1:]).transpose(1, 2).reshape(part.shape)
        for part in (project.weight, project.bias)
        if part is not None
    ]


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x²) + ε) times a gain (Zhang and Sennrich 2019)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gain: Tensor, epsilon: float) -> Tensor:
        size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        inverse = size.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, inverse, gain)
        return torch.mul(hidden, inverse).mul_(gain)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, inverse, gain = ctx.saved_tensors
        shares = upstream[0] * hidden
        to_gain = shares.flatten(0, -2).t() @ inverse.flatten()
        along = (shares @ gain).unsqueeze(-1).mul_(inverse**3).div_(-hidden.shape[-1])
        return torch.mul(upstream[0], gain).mul_(inverse).addcmul_(hidden, along), to_gain, None


class _Rotation(torch.autograd.Function):
    """Rotary positions (Su et al. 2021), in place: two neighbours in ``entries`` [n, length, heads · head_dim] are a
    complex number, to be multiplied by its one of ``turns`` [1 or n, length, heads or more, head_dim / 2].
    """

    @staticmethod
    def forward(ctx: Any, entries: Tensor, turns: Tensor) -> Tensor:
        ctx.save_for_backward(turns)
        ctx.mark_dirty(entries)
        pairs = _pairs(entries, turns)
        pairs.mul_(turns[:, :, : pairs.shape[2]])
        return entries

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (turns,) = ctx.saved_tensors
        pairs = _pairs(upstream[0], turns)
        return torch.view_as_real(pairs * turns[:, :, : pairs.shape[2]].conj()).flatten(2), None


def _pairs(entries: Tensor, turns: Tensor) -> Tensor:
    return torch.view_as_complex(entries.view(*entries.shape[:2], -1, turns.shape[3], 2))
