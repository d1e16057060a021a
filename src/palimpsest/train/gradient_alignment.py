"""Whether new and replayed sequences have aligned gradients: the cosine between the two.

Riemer et al. (2019, section 2) call it transfer where the product of two examples' gradients is positive, interference
where it is negative; Reptile is meant to raise it. Here it is measured, at steps and before and after interpolations.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from palimpsest.model.llama import Llama
from palimpsest.train.data import Batches, rank_slice
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.distributed.sharding import local_tensors, sum_over_slices
from palimpsest.train.forward_backward import forward_backward
from palimpsest.train.metrics import AlignmentRecord
from palimpsest.train.metrics_log import MetricsWriter
from palimpsest.train.optimizer import gradients
from palimpsest.train.reptile import Reptile
from palimpsest.train.wrap.training_model import TrainingModel

_MAX_BLOCK_GROUPS = 4


class GradientAlignment:
    """Measures every ``interval`` steps of a stage without changing the run; with None it measures nothing.

    Weights, moments, ``.grad`` and torch's generators are left bit for bit as they were. A measurement is a function
    of the step's batch and the weights alone, so a resumed run writes the same records: ``at`` "step" (the weights
    that the step's gradient was taken at), "window" and "interpolated" (the same batch, after the last optimiser step
    of a Reptile window that contains a measured step, before and after the interpolation). A batch
    without new or without replayed sequences is skipped, and so is a group whose gradient vanishes or is not finite.

    Both gradients are of the mean loss of their own sequences; their norms are written too. Memory: one copy of the
    gradients beside the step's own, and twice the largest weight; at a window's end, when the step's own is gone, two
    copies. Time: a pass over the replayed sequences at a step, two over the whole batch at a window's end. All
    processes share each pass evenly.
    """

    def __init__(
        self, model: TrainingModel, batches: Batches, group: ProcessGroup, log: MetricsWriter, *,
        interval: int | None, reptile: Reptile | None, micro_batch_size: int | None,
    ) -> None:  # fmt: skip
        self._model, self._batches, self._process_group, self._log = model, batches, group, log
        self._interval, self._reptile, self._micro_batch_size = interval, reptile, micro_batch_size
        self._weights = list(model.weights.values())
        self._groups = {"all": self._weights} | weight_groups(model.model)

    def at_step(self, step: int) -> None:
        """After the backward pass of step number ``step`` (from 1), before its gradient is clipped."""
        if not self._interval or step % self._interval:
            return
        rows, is_replayed = self._batches[step - 1]
        replayed_count, new_count = int(is_replayed.sum()), int((~is_replayed).sum())
        if not (replayed_count and new_count):
            return
        grad_replayed = self._gradient(rows[is_replayed])
        # The gradient of the whole batch is the mean over all its sequences.
        pairs = (
            ((grad_batch * (replayed_count + new_count) - part * replayed_count) / new_count, part)
            for grad_batch, part in zip(local_tensors(gradients(self._weights)), grad_replayed, strict=True)
        )
        self._record_cosines(step, "step", pairs)

    @contextlib.contextmanager
    def around_interpolation(self, step: int) -> Iterator[None]:
        """Encloses what Reptile does after optimiser step number ``step``, when no gradient is held."""
        due = self._closes_a_measured_window(step)
        if due:
            self._measure_current_weights(step, "window")
        yield
        if due:
            self._measure_current_weights(step, "interpolated")

    def _closes_a_measured_window(self, step: int) -> bool:
        if not (self._interval and self._reptile):
            return False
        begin = (step - 1) // self._reptile.interval * self._reptile.interval
        closes = self._reptile.closes_window(step, last=step == len(self._batches))
        return closes and step // self._interval > begin // self._interval

    def _measure_current_weights(self, step: int, at: Literal["window", "interpolated"]) -> None:
        rows, is_replayed = self._batches[step - 1]
        if is_replayed.all() or not is_replayed.any():
            return
        grad_new, grad_replayed = self._gradient(rows[~is_replayed]), self._gradient(rows[is_replayed])
        self._record_cosines(step, at, zip(grad_new, grad_replayed, strict=True))

    def _gradient(self, rows: np.ndarray) -> list[Tensor]:
        """This rank's slices of the gradient of the mean loss of ``rows``; ``.grad`` is restored."""
        step_gradients = [weight.grad for weight in self._weights]
        for weight in self._weights:
            weight.grad = None
        own = rank_slice(len(rows), self._process_group.rank, self._process_group.world_size)
        device_rows = torch.from_numpy(rows[own.start : own.stop]).to(self._model.device)
        with self._isolated():
            forward_backward(self._model, device_rows, len(rows), self._process_group, self._micro_batch_size)
        found = local_tensors(gradients(self._weights))
        for weight, gradient in zip(self._weights, step_gradients, strict=True):
            weight.grad = gradient
        return found

    @contextlib.contextmanager
    def _isolated(self) -> Iterator[None]:
        """Forks the random number generators and disables torch.compile, so that the run's graphs are not affected."""
        device = self._model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self._model.without_compiler():
            yield

    def _record_cosines(
        self, step: int, at: Literal["step", "window", "interpolated"], pairs: Iterable[tuple[Tensor, Tensor]]
    ) -> None:
        """``pairs``: this rank's slices of the gradients of new and of replayed sequences, one pair per weight."""
        local = torch.stack([_inner_products(new, replayed) for new, replayed in pairs])
        products = sum_over_slices(local, self._weights[0]).cpu().numpy()
        index_of = {weight: index for index, weight in enumerate(self._weights)}
        cosines, norms_new, norms_replayed = {}, {}, {}
        for name, weights in self._groups.items():
            dot, new, replayed = products[[index_of[weight] for weight in weights]].sum(axis=0).tolist()
            if math.isfinite(dot) and new * replayed > 0:
                norms_new[name], norms_replayed[name] = math.sqrt(new), math.sqrt(replayed)
                cosines[name] = dot / (norms_new[name] * norms_replayed[name])
        if cosines:
            self._log.write(
                AlignmentRecord(step=step, at=at, alignment=cosines, norm_new=norms_new, norm_replayed=norms_replayed)
            )


def weight_groups(model: Llama) -> dict[str, list[Tensor]]:
    """The weights of the embedding, of up to four runs of consecutive blocks, and of the output layer, unless tied.

    The norm after the last block belongs to none of them.
    """
    blocks, embedding = list(model.base_model.layers), model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    groups: dict[str, list[Tensor]] = {"embedding": [embedding]}
    count = min(_MAX_BLOCK_GROUPS, len(blocks))
    for index in range(count):
        members = rank_slice(len(blocks), index, count)
        first, last = members.start + 1, members.stop
        name = f"blocks {first}-{last}" if last > first else f"block {first}"
        groups[name] = [weight for member in members for weight in blocks[member].parameters()]
    return groups if head is embedding else groups | {"head": [head]}


def _inner_products(new: Tensor, replayed: Tensor) -> Tensor:
    """[3]: new · replayed, new · new, replayed · replayed, summed in float64."""
    pairs = ((new, replayed), (new, new), (replayed, replayed))
    return torch.stack([(one * other).sum(dtype=torch.float64) for one, other in pairs])
