"""The optimiser of a stage."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def adamw(names: dict[Tensor, str], settings: dict[str, Any]) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves gains alone."""
    matrices = [weight for weight in names if weight.ndim >= 2]
    gains = [weight for weight in names if weight.ndim < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": gains, "weight_decay": 0.0}],
        lr=settings["learning_rate"],
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
        fused=True,
    )
