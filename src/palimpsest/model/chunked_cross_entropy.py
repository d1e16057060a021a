"""The output layer and its loss, a few hundred tokens at a time, so that the logits of a batch are never held.

With a vocabulary of 128,256 the fp32 logits of 8,192 tokens are 4.2 GB, and their gradient as much again. Here the
logits of a chunk become its gradient while they are in the cache, and both products with it are done at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Logits held at once: a few MB for a CPU's cache, 1 GB of a GPU, whose matrix products want to be large.
_MAX_LOGITS = {"cpu": 2**20, "cuda": 2**28}
_MIN_CHUNK = 256  # tokens; smaller matrix products get slow


def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of ``hidden`` [n, length, width] times ``weight`` [vocabulary, width] against ``targets``.

    Returns the sum of the losses, each times the weight of its sequence (``weights`` [n], fp32), to go backward from;
    and the losses themselves, nats [n, length] in fp32, without a gradient.
    """
    token_weights = weights[:, None].expand_as(targets).reshape(-1)
    total, losses = _ChunkedCrossEntropy.apply(hidden.flatten(0, 1), weight, targets.flatten(), token_weights)  # type: ignore[no-untyped-call]
    return total, losses.view_as(targets)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Computes the gradients for an upstream gradient of 1 in the forward pass; backward multiplies them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        chunk = max(_MIN_CHUNK, _MAX_LOGITS[device] // len(weight))
        with torch.autocast(device, enabled=False):
            low_weight = weight.to(low)
            grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
            losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
            for begin in range(0, len(targets), chunk):
                rows = slice(begin, begin + chunk)
                own, target, scale = hidden[rows].to(low), targets[rows, None], weights[rows, None]
                log_probs = F.log_softmax((own @ low_weight.t()).float(), dim=1)
                losses[rows] = -log_probs.gather(1, target)[:, 0]
                # softmax - one-hot: the gradient of the logits.
                probs = log_probs.exp_()
                grad_logits = probs.scatter_(1, target, probs.gather(1, target) - 1).to(low)
                grad_hidden[rows] = ((grad_logits @ low_weight) * scale).to(hidden.dtype)
                _add_product(grad_weight, grad_logits.t(), (own * scale).to(low))
        ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype))
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        # In place: there is one backward pass, and the output layer's gradient may be a gigabyte.
        return grad_hidden.mul_(upstream[0]), grad_weight.mul_(upstream[0]), None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a matrix product to an fp32 sum; one operation where the factors are fp32 too."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    else:
        total += left @ right
