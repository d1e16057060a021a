"""What a person who watches a training sees."""

from __future__ import annotations

import logging
import time

import torch

from palimpsest.model.devices import peak_flops
from palimpsest.train.data import Batches
from palimpsest.train.distributed.process_group import Ranks

logger = logging.getLogger(__name__)
_SECONDS = 5.0


def share_per_token(flops_per_token: int, device: torch.device, processes: int) -> float | None:
    """What a token per second uses of the bf16 peak of all cards (MFU); None where that is not known."""
    peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return flops_per_token / (peak * processes) if peak else None


class Progress:
    """A line every few seconds: step, loss, tokens per second, model FLOPs utilisation, time left.

    The utilisation is of the bf16 peak of all cards, and shown where that is known.
    """

    def __init__(self, start: int, batches: Batches, flops_per_token: int, ranks: Ranks) -> None:
        self._start, self._steps = start, len(batches)
        self._tokens_per_step = batches.schedule.batch_size * batches.context_length
        self._share_per_token = share_per_token(flops_per_token, ranks.device, ranks.count)
        self._began = self._shown = time.monotonic()

    def show(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._shown < _SECONDS and step < self._steps:
            return
        self._shown = now
        logger.info("%s", self.line(step, loss, now - self._began))

    def line(self, step: int, loss: float, seconds: float) -> str:
        """What is shown after ``step`` steps, so many seconds after this process began."""
        steps_per_s = (step - self._start) / seconds
        tokens_per_s = steps_per_s * self._tokens_per_step
        used = f"  {tokens_per_s * self._share_per_token:.1%} MFU" if self._share_per_token else ""
        left = (self._steps - step) / steps_per_s
        return f"step {step}/{self._steps}  loss {loss:.3f}  {tokens_per_s:,.0f} tokens/s{used}  {left:.0f} s left"
