"""Whether new and replayed sequences pull the weights the same way: the cosine of their gradients.

Riemer et al. (2019, section 2) call it transfer where the product of two examples' gradients is positive, interference
where it is negative; Reptile is meant to raise it. Here it is shown, at the steps and before and after interpolations.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial, Replicate

from palimpsest.train.data import Batches, share
from palimpsest.train.distributed.process_group import Ranks
from palimpsest.train.distributed.sharding import local
from palimpsest.train.wrap.training_model import Network

_RUNS = 4


class Log(Protocol):
    """Where measurements go."""

    def write(self, **line: Any) -> None: ...


class Alignment:
    """Measures every ``train.alignment_interval`` steps of a stage that replays, and changes nothing of the training.

    Weights, moments, ``.grad`` and torch's generators are left bit for bit as they were. A measurement is a function
    of the step's batch and the weights alone, so a resumed training writes the same lines: ``at`` "step" (the weights
    that the step's gradient was taken at), "window" and "interpolated" (the same batch, after the last optimiser step
    of a Reptile window that held such a step, before and after the interpolation). A batch without new or without
    replayed sequences is passed over, and so is a group whose gradient vanishes or is not finite.

    Both gradients are of the mean loss of their own sequences, whose norms are written too. Memory: one copy of the
    gradients beside the step's own, and twice the largest weight; at a window's end, when the step's own is gone, two
    copies. Time: a pass over the replayed sequences at a step, two over the whole batch at a window's end. All
    processes share each pass evenly.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        batches: Batches,
        network: Network,
        ranks: Ranks,
        backward: Callable[[Tensor, int], object],
        log: Log,
    ) -> None:
        """``backward``: adds to ``.grad`` the gradient of the mean loss of so many sequences, given this process's."""
        self._interval: int | None = spec["train"]["alignment_interval"] if spec["replay"] else None
        self._window: int | None = spec["mer"]["interval"] if spec["mer"] else None
        self._compiled = spec["train"]["compile"]
        self._batches, self._ranks, self._backward, self._log = batches, ranks, backward, log
        self._weights, self._groups = list(network.names), groups(network.model)

    def at_step(self, step: int) -> None:
        """After the backward pass of step number ``step`` (from 1), before its gradient is clipped."""
        if not self._interval or step % self._interval:
            return
        rows, is_replayed = self._batches[step - 1]
        old, new = int(is_replayed.sum()), int((~is_replayed).sum())
        if not (old and new):
            return
        replayed = self._gradient(rows[is_replayed])
        both = zip(local(weight.grad for weight in self._weights), replayed, strict=True)
        # The whole batch's is the mean over all its sequences.
        self._write(step, "step", (((whole * (old + new) - part * old) / new, part) for whole, part in both))

    @contextlib.contextmanager
    def around_interpolation(self, step: int) -> Iterator[None]:
        """Encloses what Reptile does after optimiser step number ``step``, when no gradient is held."""
        due = self._closes_a_measured_window(step)
        if due:
            self._at_weights(step, "window")
        yield
        if due:
            self._at_weights(step, "interpolated")

    def _closes_a_measured_window(self, step: int) -> bool:
        if not (self._interval and self._window):
            return False
        begin = (step - 1) // self._window * self._window
        closes = step % self._window == 0 or step == len(self._batches)
        return closes and step // self._interval > begin // self._interval

    def _at_weights(self, step: int, at: str) -> None:
        rows, is_replayed = self._batches[step - 1]
        if is_replayed.all() or not is_replayed.any():
            return
        new, replayed = self._gradient(rows[~is_replayed]), self._gradient(rows[is_replayed])
        self._write(step, at, zip(new, replayed, strict=True))

    def _gradient(self, rows: np.ndarray) -> list[Tensor]:
        """This process's part of the gradient of the mean loss of ``rows``; what ``.grad`` held is put back."""
        kept = [weight.grad for weight in self._weights]
        for weight in self._weights:
            weight.grad = None
        own = share(len(rows), self._ranks.rank, self._ranks.count)
        with self._apart():
            self._backward(torch.from_numpy(rows[own.start : own.stop]).to(self._ranks.device), len(rows))
        taken = local(weight.grad for weight in self._weights)
        for weight, gradient in zip(self._weights, kept, strict=True):
            weight.grad = gradient
        return taken

    @contextlib.contextmanager
    def _apart(self) -> Iterator[None]:
        """Random numbers are drawn aside; nothing is compiled for these sizes, which might serve the training's too."""
        device = self._ranks.device
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
            if self._compiled:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    def _write(self, step: int, at: str, pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
        """``pairs``: this process's parts of the gradients of new and of replayed sequences, by weight."""
        products = self._total(torch.stack([_products(new, replayed) for new, replayed in pairs]))
        places = {weight: place for place, weight in enumerate(self._weights)}
        cosines, norms_new, norms_replayed = {}, {}, {}
        for name, weights in ({"all": self._weights} | self._groups).items():
            dot, new, replayed = products[[places[weight] for weight in weights]].sum(axis=0).tolist()
            if math.isfinite(dot) and new * replayed > 0:
                norms_new[name], norms_replayed[name] = math.sqrt(new), math.sqrt(replayed)
                cosines[name] = dot / (norms_new[name] * norms_replayed[name])
        if cosines:
            self._log.write(step=step, at=at, alignment=cosines, norm_new=norms_new, norm_replayed=norms_replayed)

    def _total(self, products: Tensor) -> np.ndarray:
        """Summed over the slices of the weights; where each process holds whole ones, these are the sums already."""
        spread = self._weights[0]
        if isinstance(spread, DTensor):
            summed = [Partial() if placement.is_shard() else Replicate() for placement in spread.placements]
            products = DTensor.from_local(products, spread.device_mesh, summed, run_check=False).full_tensor()
        total: np.ndarray = products.cpu().numpy()
        return total


def groups(model: Any) -> dict[str, list[Tensor]]:
    """The weights of the embedding, of up to four runs of consecutive blocks, and of the head, unless it is tied.

    The gain after the last block is in none of them.
    """
    blocks, embedding = list(model.base_model.layers), model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    found = {"embedding": [embedding]}
    runs = min(_RUNS, len(blocks))
    for run in range(runs):
        members = share(len(blocks), run, runs)
        first, last = members.start + 1, members.stop
        name = f"blocks {first}-{last}" if last > first else f"block {first}"
        found[name] = [weight for member in members for weight in blocks[member].parameters()]
    return found if head is embedding else found | {"head": [head]}


def _products(new: Tensor, replayed: Tensor) -> Tensor:
    """Inner products [3]: new · replayed, new · new, replayed · replayed, summed in float64."""
    pairs = ((new, replayed), (new, new), (replayed, replayed))
    return torch.stack([(one * other).sum(dtype=torch.float64) for one, other in pairs])
