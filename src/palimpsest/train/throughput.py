"""Tokens per second, and model FLOPs utilisation: the FLOPs that the model needs over the devices' bf16 peak."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from palimpsest.model.devices import peak_flops
from palimpsest.settings.training import Train


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Converts steps per second; ``peak_flops`` is that of all devices together, None where it is unknown."""

    tokens_per_step: int
    flops_per_token: int
    peak_flops: float | None

    @classmethod
    def of(cls, settings: Train, flops_per_token: int, device: torch.device) -> Throughput:
        """The throughput of a run on ``settings.processes`` devices of one kind."""
        peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        return cls(
            tokens_per_step=settings.batch_size * settings.context_length,
            flops_per_token=flops_per_token,
            peak_flops=peak * settings.processes if peak else None,
        )

    def mfu(self, tokens_per_s: float) -> float | None:
        """Model FLOPs utilisation, None where the peak is unknown."""
        return tokens_per_s * self.flops_per_token / self.peak_flops if self.peak_flops else None

    def text(self, steps_per_s: float) -> str:
        """ "20,169 tokens/s", with the utilisation where it is known."""
        tokens_per_s = steps_per_s * self.tokens_per_step
        mfu = self.mfu(tokens_per_s)
        return f"{tokens_per_s:,.0f} tokens/s" + (f", {mfu:.1%} MFU" if mfu is not None else "")
