"""The reader of data/tokens/{language} for training, evaluation and replay; it needs numpy, no tokenizer, no torch.

What a sequence is stands in docs/formats.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from palimpsest.artifact import Manifest, read_manifest
from palimpsest.errors import ArtifactError
from palimpsest.tokens.megatron import Shard

# Each mapped shard holds a file descriptor, and a process may often have no more than 1,024.
_MAPPED_SHARDS = 256


def _prefixes(manifest: Manifest, split: str) -> list[Path]:
    if split not in manifest.counts:
        raise ArtifactError(f"{manifest.folder}: no split {split!r}; it has {', '.join(sorted(manifest.counts))}")
    return [path.with_suffix("") for path in manifest.paths(f"{split}-", ".idx")]


@functools.lru_cache(maxsize=_MAPPED_SHARDS)
def _windows(prefix: Path, context_length: int, digest: str) -> np.ndarray:  # noqa: ARG001
    """A view of a shard in which row s is sequence s: tokens s · context_length … (s + 1) · context_length.

    ``digest`` is that of the folder: one that was written again is mapped again.
    """
    tokens = np.asarray(Shard(prefix).tokens)
    return np.lib.stride_tricks.sliding_window_view(tokens, context_length + 1)[::context_length]


class Sequences:
    """The sequences of one split of a tokens folder, numbered through its shards in name order.

    ``digest`` is the folder's; ``vocab_size`` the tokenizer's. Opening reads a few bytes of each shard, keeps its path
    and its bounds, and nothing for each sequence.
    """

    def __init__(self, folder: Path, split: str, context_length: int) -> None:
        if context_length < 1:
            raise ValueError(f"context_length is {context_length}, expected at least 1")
        manifest = read_manifest(folder, "tokens")
        self._context_length = context_length
        self._prefixes = _prefixes(manifest, split)
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
            raise IndexError(f"sequences {indices.min()} to {indices.max()} asked for, there are {len(self)}")
        rows = np.empty((len(indices), self._context_length + 1), dtype=np.int64)
        order = np.argsort(indices, kind="stable")  # groups the shards, and reads each one forwards
        shards, begins = np.unique(np.searchsorted(self._ends, indices[order], side="right"), return_index=True)
        for shard, places in zip(shards, np.split(order, begins[1:]), strict=False):
            windows = _windows(self._prefixes[shard], self._context_length, self.digest)
            rows[places] = windows[indices[places] - self._begins[shard]]
        return rows


class Documents:
    """The documents of one split, in order, each an int64 array without the end-of-text token."""

    def __init__(self, folder: Path, split: str) -> None:
        manifest = read_manifest(folder, "tokens")
        self._prefixes = _prefixes(manifest, split)
        self.digest = manifest.digest
        self.end_of_text = int(manifest.params["end_of_text"])

    def __iter__(self) -> Iterator[np.ndarray]:
        for prefix in self._prefixes:
            shard = Shard(prefix)
            for index in range(shard.documents):
                tokens = shard.document(index)
                if not len(tokens) or tokens[-1] != self.end_of_text:
                    raise ArtifactError(
                        f"{prefix}.bin: document {index} does not end with token {self.end_of_text}; "
                        "delete the folder's manifest.json and run the tokens stage again"
                    )
                yield np.asarray(tokens[:-1], dtype=np.int64)
