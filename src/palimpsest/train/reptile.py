"""Reptile in weight space (Nichol et al. 2018; in MER: Riemer et al. 2019): a step back towards an anchor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from palimpsest.train.distributed.sharding import local_tensors


class Reptile:
    """Every ``interval`` optimiser steps θ ← a + ε(θ - a), then a ← θ; a stage's last step closes its window.

    It works in place on the fp32 master weights, from which the next optimiser step starts. The learning rate is not
    affected, nor are AdamW's moments, unless ``mer.moments`` has the trainer reset them. ε = 1 is plain training: no
    anchor is kept and nothing is done. Cost: one copy of the weights. Each process keeps and interpolates its own
    slices; nothing is sent.
    """

    def __init__(self, weights: Sequence[Tensor], interval: int, step_size: float) -> None:
        if any(weight.dtype != torch.float32 for weight in weights):
            raise ValueError(
                "Reptile interpolates fp32 master weights; in a lower precision the step would be rounded away"
            )
        self.interval, self.step_size = interval, step_size
        self._weights = weights
        self.anchor = [weight.detach().clone() for weight in weights] if step_size != 1 else []

    def closes_window(self, step: int, last: bool) -> bool:
        """Whether there is an interpolation after optimiser step ``step`` (from 1) of the stage."""
        return bool(self.anchor) and (last or step % self.interval == 0)

    @torch.no_grad()
    def after_step(self, step: int, last: bool) -> bool:
        """Interpolate if step ``step`` closes a window. Returns True if it did."""
        if not self.closes_window(step, last):
            return False
        weights, anchor = local_tensors(self._weights), local_tensors(self.anchor)
        torch._foreach_lerp_(anchor, weights, self.step_size)
        torch._foreach_copy_(weights, anchor)
        return True
