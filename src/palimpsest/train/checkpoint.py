"""Training state on disk: weights, AdamW's moments and the Reptile anchor in safetensors, the rest in JSON. No pickle.

A checkpoint is written beside its place, fsynced and renamed, so that it is there whole or not at all; the one before
it is removed after that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from palimpsest.artifact import read_json, sync_folder, write_json
from palimpsest.errors import TrainingError
from palimpsest.train.reptile import Reptile

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_optimizer(optimizer: torch.optim.Optimizer, names: dict[Tensor, str], path: Path) -> None:
    """AdamW's moments by weight name; ``step`` [1] counts optimiser steps over the whole lineage."""
    tensors = {f"{moment}.{names[weight]}": optimizer.state[weight][moment] for weight in names for moment in _MOMENTS}
    steps = optimizer.state[next(iter(names))]["step"]
    _save_tensors(tensors | {"step": steps.reshape(1).cpu()}, path)


def load_optimizer(optimizer: torch.optim.Optimizer, names: dict[Tensor, str], path: Path) -> None:
    """Restore what ``save_optimizer`` wrote."""
    tensors = load_file(path)
    for weight, name in names.items():
        state = {moment: tensors[f"{moment}.{name}"].to(weight.device) for moment in _MOMENTS}
        optimizer.state[weight] = state | {"step": tensors["step"][0].clone().to(weight.device)}


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


class Checkpoints:
    """The checkpoints of one training in ``folder``; ``fingerprint`` says which training, and no other's is loaded."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    def save(
        self, step: int, names: dict[Tensor, str], optimizer: torch.optim.Optimizer, reptile: Reptile | None
    ) -> None:
        """Keep the state after ``step`` steps of the stage."""
        place = self.folder / f"checkpoint-{step:08d}"
        beside = self.folder / f".checkpoint-{os.getpid()}.tmp"
        self._clear(self.folder.glob(".checkpoint-*.tmp"))
        self._clear(path for path in self.folder.glob("checkpoint-*") if path not in self._found())
        beside.mkdir(parents=True)
        _save_tensors({name: weight for weight, name in names.items()}, beside / "weights.safetensors")
        save_optimizer(optimizer, names, beside / "optimizer.safetensors")
        if reptile and reptile.anchor:
            anchor = dict(zip(names.values(), reptile.anchor, strict=True))
            _save_tensors(anchor, beside / "anchor.safetensors")
        write_json(beside / "state.json", {"step": step, "fingerprint": self.fingerprint})
        beside.rename(place)
        sync_folder(self.folder)
        self._clear(path for path in self._found() if path != place)

    @torch.no_grad()
    def resume(self, names: dict[Tensor, str], optimizer: torch.optim.Optimizer, reptile: Reptile | None) -> int:
        """Load the last checkpoint of this training in place; the steps done, 0 when there is none."""
        found = [path for path in self._found() if read_json(path / "state.json")["fingerprint"] == self.fingerprint]
        if not found:
            return 0
        weights = load_file(found[-1] / "weights.safetensors")
        if set(weights) != set(names.values()):
            raise TrainingError(
                f"{found[-1]}: holds other weights than this model has; delete the folder and run again"
            )
        for weight, name in names.items():
            weight.copy_(weights[name])
        load_optimizer(optimizer, names, found[-1] / "optimizer.safetensors")
        if reptile and reptile.anchor:
            anchor = load_file(found[-1] / "anchor.safetensors")
            for place, name in zip(reptile.anchor, names.values(), strict=True):
                place.copy_(anchor[name])
        step: int = read_json(found[-1] / "state.json")["step"]
        return step

    def remove(self) -> None:
        """Remove every checkpoint: the training is finished, or begins anew."""
        self._clear([*self.folder.glob("checkpoint-*"), *self.folder.glob(".checkpoint-*.tmp")])

    def _found(self) -> list[Path]:
        return sorted(state.parent for state in self.folder.glob("checkpoint-*/state.json"))

    def _clear(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path.is_dir():
                # The state goes first, so that a removal that is cut short leaves nothing that looks whole.
                (path / "state.json").unlink(missing_ok=True)
                shutil.rmtree(path)
