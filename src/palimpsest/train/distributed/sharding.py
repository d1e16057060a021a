"""Weights spread over processes by torch's FSDP2, and which rows of them each process has.

``fsdp`` gives each process a slice of every weight; ``ddp`` gives each the whole: a mesh of one slice by all processes.
Both reduce the gradients of a block together, in an order that depends on the model alone, so that equal runs on as
many processes end with equal bytes. torch's DistributedDataParallel orders its buckets anew after its first step, and
so would sum otherwise after a resume.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from palimpsest.train.data import share
from palimpsest.train.distributed.process_group import Ranks


def spread(model: Any, ranks: Ranks, sharding: str, precision: str) -> None:
    """Give this process its part of the weights, block by block, on its device."""
    if sharding == "ddp":
        mesh = init_device_mesh(ranks.device.type, (ranks.count, 1), mesh_dim_names=("replicate", "shard"))
    else:
        mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    policy = MixedPrecisionPolicy()
    if precision == "bf16":
        # Inputs are token ids, and weights of losses that must not be rounded.
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in [*model.base_model.layers, model]:
        fully_shard(block, mesh=mesh, mp_policy=policy)


def whole(tensor: Tensor) -> Tensor:
    """The tensor in one piece; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensors: Iterable[Any]) -> list[Tensor]:
    """What this process holds of tensors that may be spread over several."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def held(tensor: Tensor) -> tuple[Tensor, int]:
    """The rows of a tensor that this process holds, in place, and which of the whole is the first of them."""
    if not isinstance(tensor, DTensor):
        return tensor, 0
    return tensor.to_local(), min(tensor.device_mesh.get_local_rank(_last(tensor)) * _widest(tensor), len(tensor))


def dealt(tensor: Tensor, ranks: Ranks) -> tuple[Tensor, int]:
    """Like ``held``, but rows that several processes hold fall to one of them each: an even share of every tensor."""
    rows, first = held(tensor)
    if isinstance(tensor, DTensor) and tensor.device_mesh.size(_last(tensor)) > 1:
        return rows, first
    chosen = share(len(rows), ranks.rank, ranks.count)
    return rows[chosen.start : chosen.stop], chosen.start


def _last(tensor: DTensor) -> int:
    """The dimension of the mesh over which rows are cut."""
    return tensor.device_mesh.ndim - 1


def _widest(tensor: DTensor) -> int:
    """Rows of each slice but the last ones, which have what is left."""
    return -(-len(tensor) // tensor.device_mesh.size(_last(tensor)))
