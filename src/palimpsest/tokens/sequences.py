"""Reads data/tokens/{language} for training, evaluation and replay; needs neither a tokenizer nor torch.

Training text is packed: a shard is one stream of tokens, documents separated by end-of-text, and is cut into chunks of
``context_length`` tokens whatever the bounds of documents. ``Sequences`` reads each chunk with the token after it
(inputs and, shifted by one, targets). Nothing is stored: chunk i of a shard starts at token i · context_length. The
tokens left over at the end of a shard are not used. Evaluation reads whole ``Documents`` instead.
"""

from __future__ import annotations

import functools
import heapq
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from palimpsest.artifact import Manifest, read_manifest
from palimpsest.errors import ArtifactError
from palimpsest.tokens.megatron import Shard

# The limit of open files for a process is often 1,024, or 256.
_OPEN_SHARDS = 160
_READ_SHARDS = 16  # three memory maps each
_BLOCK = 64  # sequences that are read before they are copied to the result; small enough for the CPU's cache


def _prefixes(manifest: Manifest, split: str) -> list[Path]:
    splits = manifest.counts.keys() - {"sources"}
    if split not in splits:
        raise ArtifactError(f"{manifest.folder}: no split {split!r}; it has {', '.join(sorted(splits))}")
    return [path.with_suffix("") for path in manifest.paths(f"{split}-", ".idx")]


class _SliceReader:
    """Reads slices of ``width`` tokens from an open shard.

    Uses positioned reads instead of a memory map. All reads are announced to the kernel first, so that a disk serves
    many at once while other threads run. On a cold disk this is 10 to 100 times as fast as the page faults of a map,
    one after another; from the page cache it is no slower.
    """

    def __init__(self, prefix: Path, width: int) -> None:
        self._path, self._width, self._dtype = prefix.with_name(prefix.name + ".bin"), width, Shard(prefix).dtype
        self._file = self._path.open("rb", buffering=0)
        self._advise(0, 0, "POSIX_FADV_RANDOM")

    def read(self, starts: np.ndarray, result: np.ndarray, indices: np.ndarray) -> None:
        """Copy the slices that begin at the tokens ``starts`` into ``result[indices]``."""
        size = self._width * self._dtype.itemsize
        offsets = (starts * self._dtype.itemsize).tolist()
        for offset in offsets:
            self._advise(offset, size, "POSIX_FADV_WILLNEED")
        buffer = np.empty((min(len(offsets), _BLOCK), self._width), dtype=self._dtype)
        views = [memoryview(part).cast("B") for part in buffer]
        for first in range(0, len(offsets), _BLOCK):
            block = offsets[first : first + _BLOCK]
            for view, offset in zip(views, block, strict=False):
                if (found := os.preadv(self._file.fileno(), [view], offset)) != size:
                    raise ArtifactError(
                        f"{self._path}: {found} bytes at {offset}, expected {size}; run the tokens stage again"
                    )
            result[indices[first : first + _BLOCK]] = buffer[: len(block)]

    def _advise(self, offset: int, size: int, advice: str) -> None:
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._file.fileno(), offset, size, getattr(os, advice))


@functools.lru_cache(maxsize=_OPEN_SHARDS)
def _slice_reader(prefix: Path, width: int, digest: str) -> _SliceReader:  # noqa: ARG001
    """``digest`` is the digest of the folder, so that its shards are opened again after a rebuild."""
    return _SliceReader(prefix, width)


class Sequences:
    """The fixed-length sequences of one split of a tokens folder, numbered across its shards in name order.

    ``digest`` is the folder's; ``vocab_size`` the tokenizer's. Opening reads a few bytes per shard and keeps its path
    and bounds; memory does not grow with the number of sequences.
    """

    def __init__(self, folder: Path, split: str, context_length: int) -> None:
        if context_length < 1:
            raise ValueError(f"context_length is {context_length}, expected at least 1")
        manifest = read_manifest(folder, "tokens")
        self._context_length = context_length
        self._prefixes = _prefixes(manifest, split)
        # Packing: the tokens of a shard are cut into chunks of context_length; one more token is the last target.
        counts = [max(Shard(prefix).token_count - 1, 0) // context_length for prefix in self._prefixes]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._begins = self._ends - np.asarray(counts, dtype=np.int64)
        self.digest = manifest.digest
        self.vocab_size = int(manifest.params["vocab_size"])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Token ids, int64 [n, context_length + 1], of n sequences in any order. Raises IndexError out of range."""
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"sequences {indices.min()} to {indices.max()} requested, but there are {len(self)}")
        result = np.empty((len(indices), self._context_length + 1), dtype=np.int64)
        order = np.argsort(indices, kind="stable")  # groups the shards, and reads each one forwards
        shards, begins = np.unique(np.searchsorted(self._ends, indices[order], side="right"), return_index=True)
        for shard, chosen in zip(shards, np.split(order, begins[1:]), strict=False):
            starts = (indices[chosen] - self._begins[shard]) * self._context_length
            reader = _slice_reader(self._prefixes[shard], self._context_length + 1, self.digest)
            reader.read(starts, result, chosen)
        return result


@functools.lru_cache(maxsize=_READ_SHARDS)
def _shard(prefix: Path, digest: str) -> Shard:  # noqa: ARG001
    return Shard(prefix)


class Documents:
    """The documents of one split, each an int64 array without the end-of-text token.

    Shards are interleaved in proportion: the next document comes from the shard with the smallest (read + ½) /
    documents, ties broken by name. The first documents, however many, therefore mix the sources in the proportions of
    the split. Memory: a few dozen bytes per shard.
    """

    def __init__(self, folder: Path, split: str) -> None:
        manifest = read_manifest(folder, "tokens")
        self._prefixes = _prefixes(manifest, split)
        self.digest = manifest.digest
        self.end_of_text = int(manifest.params["end_of_text"])

    def __iter__(self) -> Iterator[np.ndarray]:
        documents = [Shard(prefix).documents for prefix in self._prefixes]
        queue = [(0.5 / number, shard, 0) for shard, number in enumerate(documents) if number]
        heapq.heapify(queue)
        while queue:
            _, shard, index = queue[0]
            yield self._document(self._prefixes[shard], index)
            if index + 1 < documents[shard]:
                heapq.heapreplace(queue, ((index + 1.5) / documents[shard], shard, index + 1))
            else:
                heapq.heappop(queue)

    def _document(self, prefix: Path, index: int) -> np.ndarray:
        tokens = _shard(prefix, self.digest).document(index)
        if not len(tokens) or tokens[-1] != self.end_of_text:
            raise ArtifactError(
                f"{prefix}.bin: document {index} does not end with token {self.end_of_text}; "
                "delete the folder's manifest.json and run the tokens stage again"
            )
        return np.asarray(tokens[:-1], dtype=np.int64)
