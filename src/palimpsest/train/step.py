"""One gradient: forward and backward passes over a batch that all processes share, micro-batch by micro-batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.wrap.training_model import TrainingModel


def forward_backward(
    model: TrainingModel, rows: Tensor, sequences: int, group: ProcessGroup, micro_batch_size: int | None
) -> np.ndarray:
    """Add to ``.grad`` the gradient of the mean loss over all tokens of a batch of ``sequences``.

    ``rows`` [n, context_length + 1] are this process's sequences of it. Returns the loss of each sequence of the batch
    (float [sequences]), in nats per token. All processes make as many passes, so that none waits for another: slices
    are padded to the longest one with rows of weight 0. Gradients are averaged over processes, so the loss is
    multiplied by their number.
    """
    longest = -(-sequences // group.world_size)
    count, tokens = len(rows), sequences * (rows.shape[1] - 1)
    weights = F.pad(torch.full((count,), group.world_size / tokens), (0, longest - count)).to(rows.device)
    rows = F.pad(rows, (0, 0, 0, longest - count))
    parts: list[Tensor] = []
    micro_batch_size = micro_batch_size or longest
    for begin in range(0, longest, micro_batch_size):
        chosen = slice(begin, begin + micro_batch_size)
        total, losses = model.losses(rows[chosen], weights[chosen])
        model.sync_gradients(begin + micro_batch_size >= longest)
        torch.autograd.backward(total)
        parts.append(losses.mean(dim=1))
    per_sequence: np.ndarray = group.gather(torch.cat(parts)[:count], sequences).cpu().numpy()
    return per_sequence
