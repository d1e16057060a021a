"""The output layer and its loss, a few hundred tokens at a time, so that the logits of a batch are never held.

With a vocabulary of 128,256 the fp32 logits of 8,192 tokens are 4.2 GB, and their gradient as much again. Here the
logits of a chunk become its gradient while they lie in the cache, and both products with it are done at once.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Logits that are held at once: a few MB for a CPU's cache, 1 GB of a card, whose matrix products want to be large.
_LOGITS = {"cpu": 2**20, "cuda": 2**28}
_FEWEST = 256  # tokens in a chunk, below which its products get slow
# Those whose logits are the last hidden states times lm_head and nothing else.
_PLAIN = {"llama", "mistral", "qwen2", "qwen3"}


def attach(model: Any) -> None:
    """Let ``model(input_ids=…, targets=…, weights=…)`` return what ``head_loss`` does; without targets it is as it was.

    To be called before FSDP takes the weights, which are whole only within the model's own forward pass.
    """
    plain = model.forward

    def forward(self: Any, *args: Any, targets: Tensor | None = None, weights: Any = None, **options: Any) -> Any:
        if targets is None:
            return plain(*args, **options)
        if self.config.model_type in _PLAIN:
            return head_loss(self.model(*args, **options).last_hidden_state, self.lm_head.weight, targets, weights)
        losses = F.cross_entropy(
            plain(*args, **options).logits.flatten(0, 1).float(), targets.flatten(), reduction="none"
        ).view_as(targets)
        return (losses.sum(dim=1) * weights).sum(), losses.detach()

    model.forward = MethodType(forward, model)


def head_loss(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of ``hidden`` [n, length, width] times ``weight`` [vocabulary, width] against ``targets``.

    Returns the sum of the losses, each times the weight of its sequence (``weights`` [n], fp32), to go backward from;
    and the losses themselves, nats [n, length] in fp32, without a gradient.
    """
    spread = weights[:, None].expand_as(targets).reshape(-1)
    total, losses = _HeadLoss.apply(hidden.flatten(0, 1), weight, targets.flatten(), spread)  # type: ignore[no-untyped-call]
    return total, losses.view_as(targets)


class _HeadLoss(torch.autograd.Function):
    """The gradients for an upstream of 1 are made in the forward pass; backward multiplies them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        kind = hidden.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        chunk = max(_FEWEST, _LOGITS[kind] // len(weight))
        with torch.autocast(kind, enabled=False):
            low_weight = weight.to(low)
            to_hidden, to_weight = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
            losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
            for begin in range(0, len(targets), chunk):
                rows = slice(begin, begin + chunk)
                own, target, share = hidden[rows].to(low), targets[rows, None], weights[rows, None]
                logs = F.log_softmax((own @ low_weight.t()).float(), dim=1)
                losses[rows] = -logs.gather(1, target)[:, 0]
                # softmax - one-hot: the gradient of the logits.
                chances = logs.exp_()
                slope = chances.scatter_(1, target, chances.gather(1, target) - 1).to(low)
                to_hidden[rows] = ((slope @ low_weight) * share).to(hidden.dtype)
                _add_product(to_weight, slope.t(), (own * share).to(low))
        ctx.save_for_backward(to_hidden, to_weight.to(weight.dtype))
        ctx.mark_non_differentiable(losses)
        return (losses * weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_hidden, to_weight = ctx.saved_tensors
        # In place, since a pass backward is made once, and the head's gradient may be a gigabyte.
        return to_hidden.mul_(upstream[0]), to_weight.mul_(upstream[0]), None, None


def _add_product(total: Tensor, one: Tensor, other: Tensor) -> None:
    """Add a product to an fp32 sum, which is one operation where the factors are fp32 too."""
    if one.dtype == torch.float32:
        total.addmm_(one, other)
    else:
        total += one @ other
