"""The processes that train together: this one alone, or all those that torchrun started.

On one machine the workflow starts them. On several, run on each, by hand or by the cluster's scheduler,
``torchrun --nnodes … --nproc-per-node … --rdzv-backend c10d --rdzv-endpoint host:port -m palimpsest.cli train …`` with
what ``snakemake -n -p`` shows after ``train``; all must see the project's folder. They talk by NCCL on CUDA, by gloo on
CPUs and about checkpoints; where a machine has several networks, NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME name one.
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
from palimpsest.train.data import share

# The others wait while the first process writes what may be hundreds of GB.
_PATIENCE = timedelta(hours=2)


class Ranks:
    """Process ``rank`` of ``count``. Every method but ``fail`` is called by all of them, in the same order."""

    def __init__(self, processes: int) -> None:
        self.count, self.rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if self.count != processes:
            raise TrainingError(
                f"train.processes is {processes}, but {self.count} run; set train.processes: {self.count}, or start "
                f"`python -m torch.distributed.run --nproc-per-node {processes} -m palimpsest.cli train …`"
            )
        self.device = best_device()
        # torchrun says so to one process too, which then has its weights spread, over itself.
        self.launched = "RANK" in os.environ
        if not self.launched:
            return
        here, cards = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
        if self.device.type == "cuda" and here > cards:
            raise TrainingError(f"train.processes: {here} run on this machine, which has {cards} cards")
        dist.init_process_group(
            "nccl" if self.device.type == "cuda" else "gloo",
            device_id=self.device if self.device.type == "cuda" else None,
            timeout=_PATIENCE,
        )

    @property
    def first(self) -> bool:
        """Whether this is the process that logs and writes."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.count == 1:
            return flag
        said = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said.item())

    def agreed(self, number: int) -> int:
        """What the first process says; also waits for it."""
        if self.count == 1:
            return number
        said = torch.tensor([number], dtype=torch.int64, device=self.device)
        dist.broadcast(said, src=0)
        return int(said.item())

    def gather(self, own: Tensor, total: int) -> Tensor:
        """An entry for each sequence of a batch of ``total``, from this process's share of them."""
        if self.count == 1:
            return own
        shares = [share(total, rank, self.count) for rank in range(self.count)]
        widest = max(map(len, shares))
        held = [own.new_empty(widest) for _ in shares]
        dist.all_gather(held, torch.cat([own, own.new_zeros(widest - len(own))]))
        return torch.cat([part[: len(places)] for part, places in zip(held, shares, strict=True)])

    def all_or_none(self) -> contextlib.AbstractContextManager[None]:
        """A block without messages that all processes get through, or none: where it fails in one, the others end.

        Else they would wait for that one, on cards until they are killed. Only it says why.
        """
        return _all_or_none(self.any, SystemExit(1))

    def fail(self, message: str) -> NoReturn:
        """End a training of which all processes know that it cannot go on; the first one says why."""
        self.agreed(0)
        if self.first:
            raise TrainingError(message)
        raise SystemExit(1)

    def close(self) -> None:
        """Wait for the others and leave."""
        if self.launched:
            dist.barrier()
            dist.destroy_process_group()


class Meeting:
    """A thread beside the training meets those of the other processes: by gloo, in a group that is theirs alone.

    Its methods are called by all of them, in the same order.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._count = ranks.count
        self._group = dist.new_group(backend="gloo", timeout=_PATIENCE) if ranks.count > 1 else None

    def gather(self, own: str) -> list[str]:
        """What each process says, in order of rank; equally long, in ASCII."""
        if self._group is None:
            return [own]
        said = torch.tensor(list(own.encode()), dtype=torch.uint8)
        heard = [torch.empty_like(said) for _ in range(self._count)]
        dist.all_gather(heard, said, group=self._group)
        return [bytes(each.tolist()).decode() for each in heard]

    def all_or_none(self) -> contextlib.AbstractContextManager[None]:
        """All processes get past the block, or none: where it fails in one, it raises in all."""
        failed = TrainingError("a checkpoint was not written: another process failed, and says why")
        return _all_or_none(lambda flag: "-" in self.gather("-" if flag else "+"), failed)


@contextlib.contextmanager
def _all_or_none(any_process: Callable[[bool], bool], failed: BaseException) -> Iterator[None]:
    """``any_process`` tells the others a flag, and says whether any of them raised it; then ``failed`` is raised."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(RuntimeError):  # where the others are gone, they need not be told
            any_process(True)
        raise
    if any_process(False):
        raise failed
