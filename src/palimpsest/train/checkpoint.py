"""Training state on disk: weights, AdamW's moments and the Reptile anchor in safetensors, the rest in JSON. No pickle.

A checkpoint is sharded: each process writes one file with its own rows of every tensor, from a copy in its host's
memory, by a thread, while training goes on. Nothing is gathered, and any number of processes can go on from it, each
reading the rows that it needs. The folder is written beside its place, fsynced and renamed when every process is
through, so that it is there whole or not at all; older ones are removed after that. torch.distributed.checkpoint would
do the like, but its metadata is a pickle.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from palimpsest.artifact import file_digest, read_json, sync, write_json
from palimpsest.errors import TrainingError
from palimpsest.train.distributed.process_group import Meeting, Ranks
from palimpsest.train.distributed.sharding import dealt, held, whole
from palimpsest.train.reptile import Reptile

logger = logging.getLogger(__name__)

_MOMENTS = ("exp_avg", "exp_avg_sq")
# The key in a file's metadata that says which row of the whole each of its tensors begins with.
_FIRST_ROWS = "first_rows"

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class State:
    """What a step changes, in the order of ``names``: weight → name. The tensors may be slices."""

    names: dict[Tensor, str]
    optimizer: torch.optim.Optimizer
    reptile: Reptile | None

    @property
    def weights(self) -> Tensors:
        """The weights by name."""
        return {name: weight.detach() for weight, name in self.names.items()}

    @property
    def moments(self) -> Tensors:
        """AdamW's moments by weight name; ``step`` [1], a copy, counts optimiser steps over the whole lineage."""
        state = self.optimizer.state
        moments = {
            f"{moment}.{name}": state[weight][moment] for weight, name in self.names.items() for moment in _MOMENTS
        }
        return moments | {"step": state[next(iter(self.names))]["step"].reshape(1).clone()}

    @property
    def everything(self) -> Tensors:
        """What a checkpoint holds: weights, moments, and the Reptile anchor where there is one."""
        weights = {f"weight.{name}": weight for name, weight in self.weights.items()}
        anchor = {}
        if self.reptile and self.reptile.anchor:
            anchor = dict(zip((f"anchor.{name}" for name in self.names.values()), self.reptile.anchor, strict=True))
        return weights | self.moments | anchor

    def begin_moments(self) -> None:
        """AdamW's moments before its first step; torch makes them at that step, which may never come."""
        for weight in self.names:
            state = {moment: torch.zeros_like(weight, requires_grad=False) for moment in _MOMENTS}
            self.optimizer.state[weight] = state | {"step": torch.zeros((), device=weight.device)}

    def load(self, tensors: Tensors, files: Iterable[Path]) -> None:
        """Fill ``tensors`` (``moments`` or ``everything``) in place; raises TrainingError when files are of others."""
        _fill(tensors, list(files))
        for weight in self.names:
            self.optimizer.state[weight]["step"].fill_(tensors["step"].item())


def write_whole(tensors: Tensors, path: Path, ranks: Ranks) -> None:
    """One file of whole tensors. All processes give their slices; the first gathers them one by one, and writes."""
    gathered = {}
    for name, tensor in tensors.items():
        values = whole(tensor)
        if ranks.first:
            gathered[name] = values.to("cpu", copy=True)
    with ranks.all_or_none():
        if ranks.first:
            write_tensors(gathered, path, {})


def write_tensors(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
    """A durable safetensors file, as transformers marks its own."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"} | metadata)
    sync(path)


def _fill(tensors: Tensors, files: list[Path]) -> None:
    """Copy what this process holds of ``tensors`` from files that are cut in whatever way; nothing is sent."""
    with contextlib.ExitStack() as stack:
        slices: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for file in (stack.enter_context(safe_open(path, "pt")) for path in files):
            first_rows, names = json.loads((file.metadata() or {}).get(_FIRST_ROWS, "{}")), file.keys()
            for name in names:
                slices[name].append((first_rows.get(name, 0), file.get_slice(name)))
        if slices.keys() != tensors.keys() or not all(_copy(tensors[name], slices[name]) for name in tensors):
            raise TrainingError(f"{files[0]}: holds other tensors than this model has; delete its folder and run again")


def _copy(tensor: Tensor, slices: list[tuple[int, Any]]) -> bool:
    """Copy this process's rows of a tensor from ``slices`` of the whole, each with its first row; whether all came."""
    place, first = held(tensor)
    copied = 0
    for start, rows in slices:
        count, *shape = rows.get_shape()
        begin, end = max(start, first), min(start + count, first + len(place))
        if begin < end and shape == list(place.shape[1:]):
            place[begin - first : end - first].copy_(rows[begin - start : end - start])
            copied += end - begin
    return copied == len(place)


def _tell(writing: Future[None]) -> None:
    """At once, since training goes on to its next checkpoint, which may be hours away."""
    if isinstance(error := writing.exception(), OSError):
        logger.error("a checkpoint was not written: %s: %s", error.filename, error.strerror)


class Checkpoints:
    """The checkpoints of one training in ``folder``; ``fingerprint`` says which training, and no other's is loaded.

    The last ``keep`` are kept, until the training is finished. ``save`` and ``wait`` are called by all processes.
    """

    def __init__(self, folder: Path, fingerprint: str, ranks: Ranks, keep: int) -> None:
        self.folder, self.fingerprint, self.ranks, self.keep = folder, fingerprint, ranks, keep
        self._meeting = Meeting(ranks)
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def save(self, step: int, state: State) -> None:
        """Take the state after ``step`` steps of the stage; it is on disk after ``wait``."""
        self.wait()
        tensors, first_rows = {}, {}
        for name, tensor in state.everything.items():
            rows, first = dealt(tensor, self.ranks)
            if len(rows):
                tensors[name], first_rows[name] = rows.to("cpu", copy=True), first
        self._writing = self._writer.submit(self._write, step, tensors, first_rows)
        self._writing.add_done_callback(_tell)

    def wait(self) -> None:
        """Until the last checkpoint is on disk; raises what went wrong with it."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, step: int, tensors: Tensors, first_rows: dict[str, int]) -> None:
        place = self.folder / f"checkpoint-{step:08d}"
        beside = self.folder / f".{place.name}.tmp"
        own = beside / f"rank-{self.ranks.rank:05d}.safetensors"
        with self._meeting.all_or_none():
            if self.ranks.first:
                self._clear(self.folder.glob(".checkpoint-*.tmp"))
                self._clear(path for path in self.folder.glob("checkpoint-*") if path not in self.found())
        with self._meeting.all_or_none():
            beside.mkdir(parents=True, exist_ok=True)
            write_tensors(tensors, own, {_FIRST_ROWS: json.dumps(first_rows)})
            digest = file_digest(own)
        digests = self._meeting.gather(digest)
        with self._meeting.all_or_none():
            if self.ranks.first:
                files = {f"rank-{rank:05d}.safetensors": digest for rank, digest in enumerate(digests)}
                write_json(beside / "state.json", {"step": step, "fingerprint": self.fingerprint, "files": files})
                beside.rename(place)
                sync(self.folder)
                self._clear(self.found()[: -self.keep])

    def resume(self, state: State) -> int:
        """Load the last checkpoint of this training in place; the steps done, 0 when there is none."""
        with self.ranks.all_or_none():
            last = self._last() if self.ranks.first else 0
        step = self.ranks.agreed(last)
        if step:
            place = self.folder / f"checkpoint-{step:08d}"
            with self.ranks.all_or_none():
                state.load(state.everything, [place / name for name in read_json(place / "state.json")["files"]])
        return step

    def remove(self) -> None:
        """Remove every checkpoint: the training is finished, or begins anew."""
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
