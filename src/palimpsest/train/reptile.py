"""Reptile in weight space (Nichol et al. 2018; in MER: Riemer et al. 2019): a step back towards an anchor."""

from __future__ import annotations

import torch
from torch import Tensor

from palimpsest.train.distributed.sharding import local


class Reptile:
    """Every ``interval`` optimiser steps θ ← a + ε(θ - a), then a ← θ; a stage's last step closes its window.

    It works in place on the fp32 master weights, which the next optimiser step starts from. The learning rate goes on
    untouched, and so do AdamW's moments, unless ``mer.moments`` has the loop begin them anew. ε = 1 is plain training:
    nothing is kept and nothing is done. Cost: one copy of the weights. Each process keeps and interpolates its own part
    of them; nothing is sent.
    """

    def __init__(self, weights: list[Tensor], interval: int, step_size: float) -> None:
        if any(weight.dtype != torch.float32 for weight in weights):
            raise ValueError(
                "Reptile interpolates fp32 master weights; in a lower precision the step would be rounded away"
            )
        self.interval, self.step_size = interval, step_size
        self._weights = weights
        self.anchor = [weight.detach().clone() for weight in weights] if step_size != 1 else []

    @torch.no_grad()
    def after_step(self, step: int, last: bool) -> bool:
        """Call after optimiser step number ``step`` (from 1) of the stage; says whether it interpolated."""
        if not self.anchor or not (last or step % self.interval == 0):
            return False
        weights, anchor = local(self._weights), local(self.anchor)
        torch._foreach_lerp_(anchor, weights, self.step_size)
        torch._foreach_copy_(weights, anchor)
        return True
