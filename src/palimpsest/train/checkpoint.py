"""Training state on disk: weights, AdamW's moments and the Reptile anchor in safetensors, the rest in JSON. No pickle.

A checkpoint is sharded: each process writes one file with its own rows of every tensor, from a copy in its host's
memory, by a thread, while training goes on. Nothing is gathered, and any number of processes can resume from it, each
reading the rows that it needs. The folder is written beside its final path, fsynced and renamed when every process is
done, so that it exists whole or not at all; older ones are removed after that. torch.distributed.checkpoint would do
the same, but its metadata is a pickle.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from palimpsest.artifact import file_digest, sync, write_json
from palimpsest.codec import encode
from palimpsest.codec import read as read_dataclass
from palimpsest.errors import TrainingError
from palimpsest.train.distributed.process_group import ProcessGroup, WriterGroup
from palimpsest.train.distributed.sharding import full_tensor, local_rows, owned_rows
from palimpsest.train.optimizer import AdamW
from palimpsest.train.reptile import Reptile

logger = logging.getLogger(__name__)

STATE_FILE = "state.json"
# The key in a file's metadata for the index, in the full tensor, of the first row of each of its tensors.
_FIRST_ROWS = "first_rows"

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """state.json of a checkpoint or of a finished run: steps done, the run's fingerprint, xxh3-128 of each file."""

    step: int
    fingerprint: str
    files: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> SavedState:
        """Read the state.json of a folder."""
        return read_dataclass(cls, folder / STATE_FILE)

    def write(self, folder: Path) -> None:
        """Write state.json, last of all: it marks the folder as complete."""
        write_json(folder / STATE_FILE, encode(self))

    def corrupt_file(self, folder: Path) -> Path | None:
        """The first file that is missing or not what was written; None if there is none."""
        for name, digest in self.files.items():
            if not (folder / name).is_file() or file_digest(folder / name) != digest:
                return folder / name
        return None


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What a step changes. The tensors may be sharded."""

    weights: Mapping[str, Tensor]
    optimizer: AdamW
    reptile: Reptile | None

    @property
    def tensors(self) -> Tensors:
        """What a checkpoint holds, in place: weights, moments, and the Reptile anchor where there is one."""
        weights = {f"weight.{name}": weight.detach() for name, weight in self.weights.items()}
        anchor: Tensors = {}
        if self.reptile and self.reptile.anchor:
            anchor = dict(zip((f"anchor.{name}" for name in self.weights), self.reptile.anchor, strict=True))
        return weights | self.optimizer.moments | anchor


def write_full_tensors(tensors: Mapping[str, Tensor], path: Path, group: ProcessGroup) -> None:
    """Write one file of full tensors: rank 0 gathers them one by one from the slices of all ranks."""
    gathered = {}
    for name, tensor in tensors.items():
        values = full_tensor(tensor.detach())
        if group.is_first:
            gathered[name] = values.to("cpu", copy=True)
    with group.fail_together():
        if group.is_first:
            write_tensors(gathered, path, {})


def write_tensors(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
    """Write a durable safetensors file, marked as transformers marks its own."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"} | metadata)
    sync(path)


def read_tensors(tensors: Tensors, files: Iterable[Path]) -> None:
    """Fill this rank's rows of ``tensors`` in place from files with any slices of them; nothing is sent.

    Raises TrainingError if names or shapes of the tensors do not match.
    """
    files = list(files)
    with contextlib.ExitStack() as stack, torch.no_grad():
        slices: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for file in (stack.enter_context(safe_open(path, "pt")) for path in files):
            first_rows, names = json.loads((file.metadata() or {}).get(_FIRST_ROWS, "{}")), file.keys()
            for name in names:
                slices[name].append((first_rows.get(name, 0), file.get_slice(name)))
        if slices.keys() != tensors.keys() or not all(_copy(tensors[name], slices[name]) for name in tensors):
            raise TrainingError(
                f"{files[0]}: its tensors do not match this model's names and shapes; delete its folder and run again"
            )


def _copy(tensor: Tensor, slices: list[tuple[int, Any]]) -> bool:
    """Copy this rank's rows from ``slices`` of the full tensor, each with its first row. Returns True if all came."""
    target, first = local_rows(tensor)
    copied = 0
    for start, rows in slices:
        count, *shape = rows.get_shape()
        begin, end = max(start, first), min(start + count, first + len(target))
        if begin < end and shape == list(target.shape[1:]):
            target[begin - first : end - first].copy_(rows[begin - start : end - start])
            copied += end - begin
    return copied == len(target)


class Checkpoints:
    """The checkpoints of one run in ``folder``; ``fingerprint`` identifies the run, and no other's are loaded.

    The last ``keep`` are retained until the run is finished. All ranks call ``save``, ``wait`` and ``resume``.
    """

    def __init__(self, folder: Path, fingerprint: str, group: ProcessGroup, keep: int) -> None:
        self.folder, self.fingerprint, self.group, self.keep = folder, fingerprint, group, keep
        self._writer_group = WriterGroup(group.world_size)
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def save(self, step: int, state: TrainingState) -> None:
        """Copy the state after ``step`` steps of the stage; it is on disk after ``wait``."""
        self.wait()
        tensors, first_rows = {}, {}
        for name, tensor in state.tensors.items():
            rows, first = owned_rows(tensor, self.group.rank, self.group.world_size)
            if len(rows):
                tensors[name], first_rows[name] = rows.to("cpu", copy=True), first
        self._writing = self._writer.submit(self._write, step, tensors, first_rows)
        self._writing.add_done_callback(_report_failure)

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk; raises what went wrong with it."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, step: int, tensors: Tensors, first_rows: dict[str, int]) -> None:
        final = self.folder / f"checkpoint-{step:08d}"
        partial = self.folder / f".{final.name}.tmp"
        own = partial / f"rank-{self.group.rank:05d}.safetensors"
        with self._writer_group.fail_together():
            if self.group.is_first:
                _remove(self.folder.glob(".checkpoint-*.tmp"))
                _remove(path for path in self.folder.glob("checkpoint-*") if path not in self.complete())
        with self._writer_group.fail_together():
            partial.mkdir(parents=True, exist_ok=True)
            write_tensors(tensors, own, {_FIRST_ROWS: json.dumps(first_rows)})
            digest = file_digest(own)
        digests = self._writer_group.gather(digest)
        with self._writer_group.fail_together():
            if self.group.is_first:
                files = {f"rank-{rank:05d}.safetensors": digest for rank, digest in enumerate(digests)}
                SavedState(step=step, fingerprint=self.fingerprint, files=files).write(partial)
                partial.rename(final)
                sync(self.folder)
                _remove(self.complete()[: -self.keep])

    def resume(self, state: TrainingState) -> int:
        """Load the last checkpoint of this training in place; returns the steps done, 0 where there is none."""
        with self.group.fail_together():
            last = self._latest_resumable_step() if self.group.is_first else 0
        step = self.group.broadcast(last)
        if step:
            folder = self.folder / f"checkpoint-{step:08d}"
            with self.group.fail_together():
                read_tensors(state.tensors, [folder / name for name in SavedState.read(folder).files])
        return step

    def remove_all(self) -> None:
        """Remove every checkpoint: the run is finished, or starts from scratch."""
        _remove([*self.folder.glob("checkpoint-*"), *self.folder.glob(".checkpoint-*.tmp")])

    def complete(self) -> list[Path]:
        """All complete checkpoints, those of other runs included, the latest last."""
        return sorted(state.parent for state in self.folder.glob(f"checkpoint-*/{STATE_FILE}"))

    def _latest_resumable_step(self) -> int:
        states = {path: SavedState.read(path) for path in self.complete()}
        own = [path for path, state in states.items() if state.fingerprint == self.fingerprint]
        if not own:
            return 0
        if corrupt := states[own[-1]].corrupt_file(own[-1]):
            raise TrainingError(f"{corrupt}: is corrupt; delete its folder and run again")
        return states[own[-1]].step


def _report_failure(writing: Future[None]) -> None:
    """Log it at once: the run continues to its next checkpoint, which may be hours away, and fails there."""
    match writing.exception():
        case OSError(filename=filename, strerror=reason):
            logger.error("a checkpoint was not written: %s: %s", filename, reason)
        case Exception() as error:
            logger.error("a checkpoint was not written: %s: %s", type(error).__name__, error)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            # The state goes first, so that a removal that is cut short leaves nothing that looks complete.
            (path / STATE_FILE).unlink(missing_ok=True)
            shutil.rmtree(path)
