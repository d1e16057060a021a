"""One gradient: forward and backward passes over a batch that all processes share, micro-batch by micro-batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.wrap.training_model import TrainingModel


def forward_backward(
    model: TrainingModel, rows: Tensor, global_batch_size: int, group: ProcessGroup, micro_batch_size: int | None
) -> np.ndarray:
    """Add to ``.grad`` the gradient of the mean loss over all tokens of a batch of ``global_batch_size`` sequences.

    ``rows`` [n, context_length + 1] are this rank's sequences of it. Returns the loss of each sequence of the batch
    (float [global_batch_size]), in nats per token. All ranks run the same number of micro-batches, so that collectives
    do not deadlock: slices are padded to the longest one with rows of weight 0. Gradients are averaged over ranks, so
    the loss is multiplied by their number.
    """
    max_local_batch_size = -(-global_batch_size // group.world_size)  # rounded up
    local_batch_size, tokens = len(rows), global_batch_size * (rows.shape[1] - 1)
    padding = max_local_batch_size - local_batch_size
    weights = F.pad(torch.full((local_batch_size,), group.world_size / tokens), (0, padding)).to(rows.device)
    rows = F.pad(rows, (0, 0, 0, padding))
    parts: list[Tensor] = []
    micro_batch_size = micro_batch_size or max_local_batch_size
    for begin in range(0, max_local_batch_size, micro_batch_size):
        chosen = slice(begin, begin + micro_batch_size)
        total, losses = model.losses(rows[chosen], weights[chosen])
        model.sync_gradients(begin + micro_batch_size >= max_local_batch_size)
        torch.autograd.backward(total)
        parts.append(losses.mean(dim=1))
    per_sequence: np.ndarray = group.gather(torch.cat(parts)[:local_batch_size], global_batch_size).cpu().numpy()
    return per_sequence
