"""Megatron-LM's .bin/.idx token shards: a streaming writer, and a reader that maps the files into memory.

``.bin`` has the tokens of one document after another. ``.idx`` has, little-endian: the magic, the version (u64), the
code of the token type (u8), the number of sequences (u64), the number of document bounds (u64, documents + 1), then the
length of each sequence in tokens (int32), its byte offset in the .bin (int64) and the document bounds (int64). Here a
sequence is a document: the bounds are 0 … documents. Source: Megatron-LM, core/datasets/indexed_dataset.py.
"""

from __future__ import annotations

import os
import struct
from array import array
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from palimpsest.artifact import sync
from palimpsest.errors import ArtifactError

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
_HEADER = struct.Struct("<9sQBQQ")
_CODES = {"uint16": 8, "int32": 4}
_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in _CODES.items()}
_ENTRY = 4 + 8 + 8  # bytes of .idx per document


def _with_suffix(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)


def shard_files(prefix: Path) -> tuple[Path, Path]:
    """The two files of a shard."""
    return _with_suffix(prefix, ".bin"), _with_suffix(prefix, ".idx")


class ShardWriter:
    """Writes ``prefix``.bin and ``prefix``.idx, document by document; both appear once the block succeeds, .idx last.

    Memory: 4 bytes per document while it is open, and 24 while it closes. ``dtype`` is uint16 or int32.
    """

    def __init__(self, prefix: Path, dtype: str) -> None:
        if dtype not in _CODES:
            raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(_CODES)}")
        self._bin, self._idx = shard_files(prefix)
        self._code = _CODES[dtype]
        self._dtype = _DTYPES[self._code]
        self._limits = np.iinfo(self._dtype)
        self._temporary = _with_suffix(self._bin, ".tmp"), _with_suffix(self._idx, ".tmp")
        self._lengths = array("i")
        self.tokens = 0
        self._bin.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._temporary[0].open("wb")

    def __enter__(self) -> Self:
        return self

    def add(self, tokens: np.ndarray) -> None:
        """Append one document. Raises ValueError for an id that the token type cannot hold."""
        self.extend(tokens, np.array([tokens.size]))

    def extend(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Append several documents: their tokens concatenated, and the length of each."""
        if tokens.size and not self._limits.min <= int(tokens.min()) <= int(tokens.max()) <= self._limits.max:
            raise ValueError(f"token ids {tokens.min()} to {tokens.max()} do not fit {self._dtype.name}")
        self._file.write(np.ascontiguousarray(tokens, dtype=self._dtype).data)
        self._lengths.frombytes(lengths.astype(np.intc).tobytes())
        self.tokens += tokens.size

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                _sync(self._file)
                with self._temporary[1].open("wb") as index:
                    self._write_index(index)
                    _sync(index)
                self._temporary[0].replace(self._bin)
                self._temporary[1].replace(self._idx)
                sync(self._idx.parent)
        finally:
            self._file.close()
            for path in self._temporary:
                path.unlink(missing_ok=True)

    def _write_index(self, file: IO[bytes]) -> None:
        documents = len(self._lengths)
        lengths = np.frombuffer(self._lengths, dtype=np.intc).astype("<i4")
        pointers = np.zeros(documents, dtype="<i8")
        np.cumsum(lengths[:-1], dtype=np.int64, out=pointers[1:])
        pointers *= self._dtype.itemsize
        file.write(_HEADER.pack(MAGIC, VERSION, self._code, documents, documents + 1))
        for part in (lengths, pointers, np.arange(documents + 1, dtype="<i8")):
            file.write(part.tobytes())


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


class Shard:
    """A finished shard. Opening it reads the header and the last entry; the arrays are mapped on first use.

    ``dtype``, ``documents`` and ``token_count`` are read at once. Raises ArtifactError if a file is missing, has the
    wrong format, or does not have the size that the index implies.
    """

    def __init__(self, prefix: Path) -> None:
        self._bin, self._idx = shard_files(prefix)
        try:
            bin_size, idx_size = self._bin.stat().st_size, self._idx.stat().st_size
            with self._idx.open("rb") as file:
                self.documents, self.dtype = self._read_header(file.read(_HEADER.size), idx_size)
                end = self._end_of_last(file)
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename}: no such file; run the tokens stage again") from None
        if bin_size != end:
            raise ArtifactError(f"{self._bin}: {bin_size} bytes, expected {end} by {self._idx.name}{_REMEDY}")
        self.token_count = bin_size // self.dtype.itemsize

    def _read_header(self, header: bytes, idx_size: int) -> tuple[int, np.dtype[Any]]:
        """The number of documents, and the type of the tokens."""
        if len(header) < _HEADER.size:
            raise ArtifactError(f"{self._idx}: {len(header)} bytes, a header has {_HEADER.size}{_REMEDY}")
        magic, version, code, documents, bounds = _HEADER.unpack(header)
        if magic != MAGIC:
            raise ArtifactError(f"{self._idx}: begins with {magic!r}, expected {MAGIC!r}{_REMEDY}")
        if version != VERSION:
            raise ArtifactError(f"{self._idx}: version {version}, expected {VERSION}{_REMEDY}")
        if code not in _DTYPES:
            raise ArtifactError(f"{self._idx}: token type {code}, expected one of {sorted(_DTYPES)}{_REMEDY}")
        if bounds != documents + 1:
            raise ArtifactError(f"{self._idx}: {bounds} bounds for {documents} sequences, expected one more{_REMEDY}")
        expected = _HEADER.size + _ENTRY * documents + 8
        if idx_size != expected:
            raise ArtifactError(
                f"{self._idx}: {idx_size} bytes, expected {expected} for {documents} documents{_REMEDY}"
            )
        return documents, _DTYPES[code]

    def _end_of_last(self, file: IO[bytes]) -> int:
        if not self.documents:
            return 0
        file.seek(_HEADER.size + 4 * (self.documents - 1))
        (length,) = struct.unpack("<i", file.read(4))
        file.seek(_HEADER.size + 4 * self.documents + 8 * (self.documents - 1))
        (pointer,) = struct.unpack("<q", file.read(8))
        return int(pointer + length * self.dtype.itemsize)

    @cached_property
    def tokens(self) -> np.ndarray:
        """All tokens of the shard, 1-D, memory-mapped."""
        return self._map(self._bin, self.dtype, 0, self.token_count)

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each document, int32, memory-mapped."""
        return self._map(self._idx, np.dtype("<i4"), _HEADER.size, self.documents)

    @cached_property
    def offsets(self) -> np.ndarray:
        """The byte offset of each document in the .bin, int64, memory-mapped."""
        return self._map(self._idx, np.dtype("<i8"), _HEADER.size + 4 * self.documents, self.documents)

    def document(self, index: int) -> np.ndarray:
        """The tokens of one document. Raises IndexError for an index outside [0, documents)."""
        if not 0 <= index < self.documents:
            raise IndexError(f"document {index} of {self.documents} in {self._bin}")
        start, length = int(self.offsets[index]) // self.dtype.itemsize, int(self.lengths[index])
        if not 0 <= start <= start + length <= self.token_count:
            raise ArtifactError(f"{self._idx}: document {index} is outside {self._bin.name}{_REMEDY}")
        return self.tokens[start : start + length]

    @staticmethod
    def _map(path: Path, dtype: np.dtype[Any], offset: int, count: int) -> np.ndarray:
        if not count:  # an empty file cannot be mapped
            return np.empty(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,))


_REMEDY = "; delete its folder's manifest.json and run the tokens stage again"
