"""Reads plain, gzip and zstd files strictly: a corrupt or truncated file is never accepted as complete."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import zstandard

from palimpsest.errors import DataError
from palimpsest.file_types import Compression, compression

PIECE_BYTES = 1 << 20
_READ_BYTES = 1 << 18
_WINDOW_BYTES = 128 << 20


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _gzip() -> _Decoder:
    return zlib.decompressobj(wbits=31)


def _zstd() -> _Decoder:
    return zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).decompressobj()


# Each with the compressed bytes of one call. Only these bound its output: at most 1,032 bytes per byte of gzip, and
# 128 KiB per four bytes of zstd.
_DECODERS: dict[Compression, tuple[Callable[[], _Decoder], int]] = {
    Compression.GZIP: (_gzip, 1024),
    Compression.ZSTD: (_zstd, 128),
}


def decompressed(file: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """The contents of a file in pieces, each with the number of compressed bytes read so far.

    The extension of ``name`` decides the compression. A file may have any number of gzip members or zstd frames. A
    piece has at most 5 MiB, whatever the compression ratio, and the window of zstd at most 128 MiB; a frame that needs
    more is refused. If a compressed file is corrupt, truncated or empty, yields everything before that and then raises
    DataError with the byte offset.
    """
    compressed = compression(name)
    if compressed is None:
        end = 0
        while piece := file.read(PIECE_BYTES):
            end += len(piece)
            yield end, piece
        return
    pieces: list[bytes] = []
    size = end = 0
    try:
        for end, content in _decoded(file, name, *_DECODERS[compressed]):
            pieces.append(content)
            size += len(content)
            if size >= PIECE_BYTES:
                yield end, b"".join(pieces)
                pieces, size = [], 0
    except DataError:
        yield end, b"".join(pieces)
        raise
    yield end, b"".join(pieces)


def _decoded(file: BinaryIO, name: str, make: Callable[[], _Decoder], step: int) -> Iterator[tuple[int, bytes]]:
    decoder: _Decoder | None = None
    end = 0
    while block := file.read(_READ_BYTES):
        for start in range(0, len(block), step):
            piece = block[start : start + step]
            at, end = end, end + len(piece)
            while piece:
                decoder = decoder or make()
                try:
                    content = decoder.decompress(piece)
                except (zlib.error, zstandard.ZstdError) as error:
                    raise DataError(f"{name}: corrupt near byte {at} ({error}); fetch it again") from None
                piece = decoder.unused_data
                if decoder.eof:
                    decoder = None
                yield end, content
    if decoder is not None or not end:
        raise DataError(f"{name}: cut short at byte {end}, in the middle of a compressed frame; fetch it again")
