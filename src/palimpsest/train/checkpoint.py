"""Training state on disk: weights, AdamW's moments and the Reptile anchor in safetensors, the rest in JSON. No pickle.

Files hold whole tensors, however many processes train: the first one writes them, and any number can go on from them.
They are gathered one by one, so a card needs room for the largest of them, and the first process 16 bytes of its
host's memory for each parameter (12 without Reptile). A checkpoint is written beside its place, fsynced and renamed, so
that it is there whole or not at all, by a thread, while training goes on from a copy in the host's memory; older ones
are removed after that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from palimpsest.artifact import file_digest, read_json, sync, write_json
from palimpsest.errors import TrainingError
from palimpsest.train.ranks import Ranks
from palimpsest.train.reptile import Reptile
from palimpsest.train.sharding import fill, whole

_MOMENTS = ("exp_avg", "exp_avg_sq")

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class State:
    """What a step changes, in the order of ``names``: weight → name. The tensors may be slices."""

    names: dict[Tensor, str]
    optimizer: torch.optim.Optimizer
    reptile: Reptile | None

    def weights(self, keep: bool) -> Tensors:
        """Whole weights by name in host memory; nothing where this process does not ``keep`` them."""
        return _whole({name: weight for weight, name in self.names.items()}, keep)

    def moments(self, keep: bool) -> Tensors:
        """AdamW's moments by weight name; ``step`` [1] counts optimiser steps over the whole lineage."""
        steps = self.optimizer.state[next(iter(self.names))]["step"]
        return _whole(self._moments() | {"step": steps.reshape(1)}, keep)

    def _moments(self) -> Tensors:
        state = self.optimizer.state
        return {f"{moment}.{name}": state[weight][moment] for weight, name in self.names.items() for moment in _MOMENTS}

    def anchor(self, keep: bool) -> Tensors:
        """The Reptile anchor by weight name; empty without one."""
        return _whole(self._anchor(), keep)

    def _anchor(self) -> Tensors:
        return (
            dict(zip(self.names.values(), self.reptile.anchor, strict=True))
            if self.reptile and self.reptile.anchor
            else {}
        )

    def load_weights(self, path: Path) -> None:
        """Raises TrainingError when the file is of another model."""
        _fill({name: weight for weight, name in self.names.items()}, path)

    def begin_moments(self) -> None:
        """AdamW's moments before its first step; torch makes them at that step, which may never come."""
        for weight in self.names:
            state = {moment: torch.zeros_like(weight, requires_grad=False) for moment in _MOMENTS}
            self.optimizer.state[weight] = state | {"step": torch.zeros((), device=weight.device)}

    def load_moments(self, path: Path) -> None:
        """Restore what ``moments`` gave."""
        steps = torch.zeros(1)
        _fill(self._moments() | {"step": steps}, path)
        for weight in self.names:
            self.optimizer.state[weight]["step"].fill_(steps.item())

    def load_anchor(self, path: Path) -> None:
        """Restore what ``anchor`` gave."""
        if tensors := self._anchor():
            _fill(tensors, path)


def write_tensors(tensors: Tensors, path: Path) -> None:
    """A durable safetensors file, as transformers marks its own."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    sync(path)


def _whole(tensors: Tensors, keep: bool) -> Tensors:
    kept = {}
    for name, tensor in tensors.items():
        values = whole(tensor.detach())
        if keep:
            kept[name] = values.to("cpu", copy=True)
    return kept


def _fill(tensors: Tensors, path: Path) -> None:
    with safe_open(path, "pt") as file:
        if set(file.keys()) != set(tensors):
            raise TrainingError(f"{path}: holds other tensors than this model has; delete its folder and run again")
        for name, place in tensors.items():
            fill(place, file.get_tensor(name))


class Checkpoints:
    """The checkpoints of one training in ``folder``; ``fingerprint`` says which training, and no other's is loaded.

    The last ``keep`` are kept, until the training is finished.
    """

    def __init__(self, folder: Path, fingerprint: str, ranks: Ranks, keep: int) -> None:
        self.folder, self.fingerprint, self.ranks, self.keep = folder, fingerprint, ranks, keep
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def save(self, step: int, state: State) -> None:
        """Take the state after ``step`` steps of the stage; it is on disk after ``wait``."""
        self.wait()
        first = self.ranks.first
        files = {"weights": state.weights(first), "optimizer": state.moments(first), "anchor": state.anchor(first)}
        if first:
            written = {name: tensors for name, tensors in files.items() if tensors}
            self._writing = self._writer.submit(self._write, step, written)

    def wait(self) -> None:
        """Until the last checkpoint is on disk; raises what went wrong with it."""
        if self._writing:
            self._writing.result()
            self._writing = None

    def _write(self, step: int, files: dict[str, Tensors]) -> None:
        place = self.folder / f"checkpoint-{step:08d}"
        beside = self.folder / f".checkpoint-{os.getpid()}.tmp"
        self._clear(self.folder.glob(".checkpoint-*.tmp"))
        self._clear(path for path in self.folder.glob("checkpoint-*") if path not in self.found())
        beside.mkdir(parents=True)
        for name, tensors in files.items():
            write_tensors(tensors, beside / f"{name}.safetensors")
        digests = {path.name: file_digest(path) for path in sorted(beside.iterdir())}
        write_json(beside / "state.json", {"step": step, "fingerprint": self.fingerprint, "files": digests})
        beside.rename(place)
        sync(self.folder)
        self._clear(self.found()[: -self.keep])

    def resume(self, state: State) -> int:
        """Load the last checkpoint of this training in place; the steps done, 0 when there is none."""
        step = self.ranks.agreed(self._last() if self.ranks.first else 0)
        if step:
            place = self.folder / f"checkpoint-{step:08d}"
            state.load_weights(place / "weights.safetensors")
            state.load_moments(place / "optimizer.safetensors")
            state.load_anchor(place / "anchor.safetensors")
        return step

    def remove(self) -> None:
        """Remove every checkpoint: the training is finished, or begins anew."""
        self.wait()
        self._clear([*self.folder.glob("checkpoint-*"), *self.folder.glob(".checkpoint-*.tmp")])

    def _last(self) -> int:
        states = {path: read_json(path / "state.json") for path in self.found()}
        found = [path for path, state in states.items() if state["fingerprint"] == self.fingerprint]
        if not found:
            return 0
        for name, digest in states[found[-1]]["files"].items():
            if not (found[-1] / name).is_file() or file_digest(found[-1] / name) != digest:
                raise TrainingError(f"{found[-1] / name}: is damaged; delete its folder and run again")
        return int(states[found[-1]]["step"])

    def found(self) -> list[Path]:
        """Those that are whole, of whatever training, the latest last."""
        return sorted(state.parent for state in self.folder.glob("checkpoint-*/state.json"))

    def _clear(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path.is_dir():
                # The state goes first, so that a removal that is cut short leaves nothing that looks whole.
                (path / "state.json").unlink(missing_ok=True)
                shutil.rmtree(path)
