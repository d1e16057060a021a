"""Llama's norms and rotations, each as one step of autograd: a speed-up for fp32 on a CPU, which a reader may skip.

There a pass through memory costs as much as a small matrix product, and the plain forms in llama.py make several for
each norm and rotation, autograd as many back. torch.compile does the same and more, but takes most of a minute to
start. ``llama.use_cpu_kernels`` turns these on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """As ``llama.RMSNorm``."""
    normalised: Tensor = _RMSNorm.apply(hidden, weight, epsilon)  # type: ignore[no-untyped-call]
    return normalised


def rotated_projections(
    hidden: Tensor, q_proj: nn.Linear, k_proj: nn.Linear, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor]:
    """Queries and keys [n, heads, length, head_dim] of ``hidden`` [n, length, width], rotated.

    The two entries that are rotated together lie next to each other here, not half a head apart. The scores are sums of
    the same products, since queries and keys are reordered alike.
    """
    n, length, _ = hidden.shape
    head_dim = cos.shape[-1]
    freqs_cis = torch.complex(*(part[:, :, None, : head_dim // 2] for part in (cos, sin)))
    freqs_cis = freqs_cis.expand(-1, -1, q_proj.out_features // head_dim, -1).contiguous()
    queries, keys = (
        _Rotation.apply(F.linear(hidden, _paired(project.weight, head_dim)), freqs_cis)  # type: ignore[no-untyped-call]
        .view(n, length, -1, head_dim)
        .transpose(1, 2)
        for project in (q_proj, k_proj)
    )
    return queries, keys


def _paired(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder the rows of a projection so that entries that are rotated together come out as neighbours."""
    return weight.view(-1, 2, head_dim // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
        inverse = size.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(hidden, inverse, weight)
        return torch.mul(hidden, inverse).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, inverse, weight = ctx.saved_tensors
        products = upstream[0] * hidden
        grad_weight = products.flatten(0, -2).t() @ inverse.flatten()
        along = (products @ weight).unsqueeze(-1).mul_(inverse**3).div_(-hidden.shape[-1])
        return torch.mul(upstream[0], weight).mul_(inverse).addcmul_(hidden, along), grad_weight, None


class _Rotation(torch.autograd.Function):
    """Multiplies ``entries`` [n, length, heads · head_dim] in place: two neighbours are one complex number.

    ``freqs_cis`` [1 or n, length, heads or more, head_dim / 2] are its factors.
    """

    @staticmethod
    def forward(ctx: Any, entries: Tensor, freqs_cis: Tensor) -> Tensor:
        ctx.save_for_backward(freqs_cis)
        ctx.mark_dirty(entries)
        pairs = _as_complex(entries, freqs_cis)
        pairs.mul_(freqs_cis[:, :, : pairs.shape[2]])
        return entries

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (freqs_cis,) = ctx.saved_tensors
        pairs = _as_complex(upstream[0], freqs_cis)
        return torch.view_as_real(pairs * freqs_cis[:, :, : pairs.shape[2]].conj()).flatten(2), None


def _as_complex(entries: Tensor, freqs_cis: Tensor) -> Tensor:
    return torch.view_as_complex(entries.view(*entries.shape[:2], -1, freqs_cis.shape[3], 2))
