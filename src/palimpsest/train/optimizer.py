"""AdamW (Loshchilov and Hutter 2019) on fp32 weights, by torch's fused kernel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from palimpsest.settings.training import Train
from palimpsest.train.distributed.sharding import local_tensors


class AdamW:
    """Decays matrices and leaves norm weights alone; ``lr`` is set before each step.

    torch.optim.AdamW calls the same kernel, but importing what it needs takes a second of CPU. Memory: two tensors the
    size of the weights. Of sharded weights each process updates its slices; nothing is sent.
    """

    def __init__(self, weights: Mapping[str, Tensor], settings: Train) -> None:
        self.lr = settings.learning_rate
        self._weights, self._settings = weights, settings
        self._mean = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in weights.items()}
        self._mean_square = {name: torch.zeros_like(mean) for name, mean in self._mean.items()}
        self._steps = torch.zeros(1, device=next(iter(weights.values())).device)

    @property
    def moments(self) -> dict[str, Tensor]:
        """The running means by name, in place; ``step`` [1] counts optimiser steps over the whole lineage."""
        moments: dict[str, Tensor] = {}
        for name in self._weights:
            moments |= {f"exp_avg.{name}": self._mean[name], f"exp_avg_sq.{name}": self._mean_square[name]}
        return moments | {"step": self._steps}

    def reset_moments(self) -> None:
        """Return to the state before the first step."""
        for tensor in self.moments.values():
            tensor.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Update all weights from their gradients."""
        self._steps += 1
        matrices = [name for name, weight in self._weights.items() if weight.ndim >= 2]
        others = [name for name, weight in self._weights.items() if weight.ndim < 2]
        for names, weight_decay in ((matrices, self._settings.weight_decay), (others, 0.0)):
            weights = [self._weights[name] for name in names]
            torch._fused_adamw_(
                local_tensors(weights),
                local_tensors(gradients(weights)),
                local_tensors(self._mean[name] for name in names),
                local_tensors(self._mean_square[name] for name in names),
                [],
                [self._steps[0]] * len(names),
                lr=self.lr,
                beta1=self._settings.beta1,
                beta2=self._settings.beta2,
                weight_decay=weight_decay,
                eps=self._settings.epsilon,
                amsgrad=False,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Free the gradients."""
        for weight in self._weights.values():
            weight.grad = None


def gradients(weights: list[Tensor]) -> list[Tensor]:
    """The gradients of all ``weights``, each of which has one."""
    found = [weight.grad for weight in weights if weight.grad is not None]
    assert len(found) == len(weights), "a weight has no gradient"
    return found
