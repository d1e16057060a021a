"""The processes that train together: this one alone, or all those that torchrun started.

The workflow starts them on one machine. For several machines, run on each, by hand or by the cluster's scheduler,
``torchrun --nnodes … --nproc-per-node … --rdzv-backend c10d --rdzv-endpoint host:port -m palimpsest.cli train …`` with
what ``snakemake -n -p`` shows after ``train``; all must see the project's folder. They communicate by NCCL on CUDA, by
gloo on CPUs and about checkpoints; where a machine has several networks, NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME
choose one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NoReturn

import torch
from torch import Tensor
from torch import distributed as dist

from palimpsest.errors import TrainingError
from palimpsest.model.devices import best_device
from palimpsest.train.data import rank_slice

# The others wait while the first process writes what may be hundreds of GB.
_TIMEOUT = timedelta(hours=2)


class ProcessGroup:
    """Process ``rank`` of ``world_size``. All processes call every method, in the same order."""

    def __init__(self, processes: int) -> None:
        self.world_size, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if self.world_size != processes:
            raise TrainingError(
                f"train.processes is {processes}, but {self.world_size} were started; set train.processes: "
                f"{self.world_size}, or start `python -m torch.distributed.run --nproc-per-node {processes} -m "
                "palimpsest.cli train …`"
            )
        self.device = best_device()
        # torchrun may start a single process too; its weights are then sharded over itself alone.
        self.is_launched = "RANK" in os.environ
        if self.is_launched:
            self._initialise()

    def _initialise(self) -> None:
        on_gpu, gpus = self.device.type == "cuda", torch.cuda.device_count()
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        if on_gpu and local_processes > gpus:
            raise TrainingError(
                f"train.processes: {local_processes} were started on this machine, which has {gpus} GPUs"
            )
        dist.init_process_group(
            "nccl" if on_gpu else "gloo", device_id=self.device if on_gpu else None, timeout=_TIMEOUT
        )

    @property
    def is_first(self) -> bool:
        """Whether this is the process that logs and writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in any process."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def broadcast(self, number: int) -> int:
        """The first process's number; also waits for that process."""
        if self.world_size == 1:
            return number
        numbers = torch.tensor([number], dtype=torch.int64, device=self.device)
        dist.broadcast(numbers, src=0)
        return int(numbers.item())

    def gather(self, own: Tensor, total: int) -> Tensor:
        """An entry for each of ``total`` sequences, of which this process has those of its ``rank_slice``."""
        if self.world_size == 1:
            return own
        slices = [rank_slice(total, rank, self.world_size) for rank in range(self.world_size)]
        longest = max(map(len, slices))
        parts = [own.new_empty(longest) for _ in slices]
        dist.all_gather(parts, torch.cat([own, own.new_zeros(longest - len(own))]))
        return torch.cat([part[: len(indices)] for part, indices in zip(parts, slices, strict=True)])

    def fail_together(self) -> contextlib.AbstractContextManager[None]:
        """A block without communication: where it raises in one process, the others exit.

        Otherwise they would wait for that process, on GPUs until they are killed. Only the failed one reports an error.
        """
        return _fail_together(self.any, SystemExit(1))

    def fail(self, message: str) -> NoReturn:
        """End a run that all ranks know to have failed; rank 0 reports why."""
        self.broadcast(0)
        if self.is_first:
            raise TrainingError(message)
        raise SystemExit(1)

    def close(self) -> None:
        """Wait for the other processes and leave the group."""
        if self.is_launched:
            dist.barrier()
            dist.destroy_process_group()


class WriterGroup:
    """A gloo group of its own for a thread beside the training loop, such as the one that writes checkpoints.

    The threads of all processes call its methods, in the same order.
    """

    def __init__(self, world_size: int) -> None:
        self._world_size = world_size
        self._group = dist.new_group(backend="gloo", timeout=_TIMEOUT) if world_size > 1 else None

    def gather(self, own: str) -> list[str]:
        """The text of each process, by rank; equally long ASCII."""
        if self._group is None:
            return [own]
        text = torch.tensor(list(own.encode()), dtype=torch.uint8)
        texts = [torch.empty_like(text) for _ in range(self._world_size)]
        dist.all_gather(texts, text, group=self._group)
        return [bytes(each.tolist()).decode() for each in texts]

    def fail_together(self) -> contextlib.AbstractContextManager[None]:
        """A block that raises in all processes where it raises in one."""
        failed = TrainingError("a checkpoint was not written: another process failed and reported why")
        return _fail_together(lambda flag: "-" in self.gather("-" if flag else "+"), failed)


@contextlib.contextmanager
def _fail_together(any_process: Callable[[bool], bool], failed: BaseException) -> Iterator[None]:
    """``any_process`` shares a flag and returns whether it is true in any process, whereupon ``failed`` is raised."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(RuntimeError):  # the other processes may be gone
            any_process(True)
        raise
    if any_process(False):
        raise failed
