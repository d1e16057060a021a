"""Weights spread over processes by torch's FSDP2, and whole tensors from and to them.

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
from torch.distributed.tensor import DTensor, distribute_tensor

from palimpsest.train.ranks import Ranks


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


@torch.no_grad()
def fill(place: Tensor, values: Tensor) -> None:
    """Copy this process's part of a whole tensor in place; nothing is sent."""
    if isinstance(place, DTensor):
        values = distribute_tensor(values.to(place.device), place.device_mesh, place.placements, src_data_rank=None)
    place.copy_(values)
