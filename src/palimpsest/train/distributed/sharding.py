"""Weights sharded over processes by torch's FSDP2, and which rows of them each process has.

``fsdp`` gives each process a slice of every weight; ``ddp`` gives each the full weights: a mesh of one slice by all
processes. Both reduce the gradients of a block together, in an order that depends on the model alone, so that identical
runs on the same number of processes give identical bytes. torch's DistributedDataParallel reorders its buckets after
its first step, and so would sum in another order after a resume.

torch.distributed's modules are imported where weights are sharded: a second of CPU that a single process saves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeGuard

import torch
from torch import Tensor, nn

from palimpsest.model.llama import Llama
from palimpsest.train.data import rank_slice
from palimpsest.train.distributed.process_group import ProcessGroup

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def shard_model(
    model: Llama, group: ProcessGroup, sharding: Literal["ddp", "fsdp"], precision: Literal["fp32", "bf16"]
) -> None:
    """Keep this process's part of the weights, block by block, on its device."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    if sharding == "ddp":
        mesh = init_device_mesh(group.device.type, (group.world_size, 1), mesh_dim_names=("replicate", "shard"))
    else:
        mesh = init_device_mesh(group.device.type, (group.world_size,))
    policy = MixedPrecisionPolicy()
    if precision == "bf16":
        # Inputs are token ids, and weights of losses, which must not be rounded.
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in [*model.base_model.layers, model]:
        fully_shard(block, mesh=mesh, mp_policy=policy)


def sync_gradients(model: nn.Module, now: bool) -> None:
    """Whether the next backward pass sums gradients over replicas, or leaves that to a later micro-batch.

    Slices are sent every time: keeping full gradients until the last micro-batch would take the size of the model.
    """
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(model, FSDPModule)
    model.set_requires_all_reduce(now)


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is a DTensor, a slice on each process."""
    return hasattr(tensor, "device_mesh")


def full_tensor(tensor: Tensor) -> Tensor:
    """The tensor in one piece; all processes must call it."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def local_tensors(tensors: Iterable[Tensor]) -> list[Tensor]:
    """This process's slices of tensors that may be sharded."""
    return [tensor.to_local() if is_sharded(tensor) else tensor for tensor in tensors]


def local_rows(tensor: Tensor) -> tuple[Tensor, int]:
    """This process's rows of a tensor, in place, and the index of the first of them in the full tensor."""
    if not is_sharded(tensor):
        return tensor, 0
    rows_per_slice = -(-len(tensor) // tensor.device_mesh.size(_sharded_dimension(tensor)))
    first = tensor.device_mesh.get_local_rank(_sharded_dimension(tensor)) * rows_per_slice
    return tensor.to_local(), min(first, len(tensor))


def owned_rows(tensor: Tensor, rank: int, world_size: int) -> tuple[Tensor, int]:
    """As ``local_rows``, but each row in one process only: rows that all hold are divided evenly among them."""
    rows, first = local_rows(tensor)
    if is_sharded(tensor) and tensor.device_mesh.size(_sharded_dimension(tensor)) > 1:
        return rows, first
    owned = rank_slice(len(rows), rank, world_size)
    return rows[owned.start : owned.stop], owned.start


def sum_over_slices(values: Tensor, weight: Tensor) -> Tensor:
    """The sum of ``values``, each process's from its slice of ``weight``; where it has all of that, its own values."""
    if not is_sharded(weight):
        return values
    from torch.distributed.tensor import DTensor, Partial, Replicate

    placements = [Partial() if placement.is_shard() else Replicate() for placement in weight.placements]
    return DTensor.from_local(values, weight.device_mesh, placements, run_check=False).full_tensor()


def _sharded_dimension(tensor: DTensor) -> int:
    """The dimension of the mesh over which rows are sharded."""
    return tensor.device_mesh.ndim - 1
