"""Checks that the first bytes of a file agree with its extension."""

from __future__ import annotations

import re
from pathlib import Path

from palimpsest.errors import DataError
from palimpsest.file_types import Compression, FileType, Format

_MAGIC = {
    Compression.GZIP: b"\x1f\x8b\x08",
    Compression.ZSTD: b"\x28\xb5\x2f\xfd",
    Format.PARQUET: b"PAR1",
    "ZIP": b"PK\x03\x04",
    "xz": b"\xfd7zXZ\0",
    "PDF": b"%PDF-",
    "Arrow": b"ARROW1",
}
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_CHECKED_BYTES = 4096
# JSON never holds a NUL, and text that does holds few; every second byte of Latin UTF-16 is one.
_MAX_NUL_FRACTION = 0.2
_ZSTD_SKIPPABLE_FRAME = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


def check_magic(path: Path, name: str, expected: FileType) -> None:
    """Raise DataError when the file is of another known format than its extension says."""
    with path.open("rb") as file:
        head = file.read(8)
    outer = Format.PARQUET if expected.format is Format.PARQUET else expected.compression
    found = _magic(head)
    if found and found != outer:
        raise DataError(
            f"{name}: holds {found} data at byte 0, which does not match its extension; rename it accordingly, or "
            "decompress it"
        )
    if isinstance(outer, Compression) and head and not found and not _ZSTD_SKIPPABLE_FRAME.match(head):
        raise DataError(
            f"{name}: holds no {outer} data at byte 0, unlike its extension; rename it to the extension of its type"
        )


def check_text(head: bytes, name: str) -> None:
    """Raise DataError when decompressed contents do not begin as UTF-8 text does."""
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            raise _wrong_encoding(name, f"is {encoding} text (byte order mark at byte 0)", encoding)
    if found := _magic(head):
        raise DataError(f"{name}: holds {found} data inside, at byte 0; decompress it")
    head = head[:_CHECKED_BYTES]
    if head.count(0) > _MAX_NUL_FRACTION * len(head):
        byte = head.index(0)
        half = max(head[::2].count(0), head[1::2].count(0))
        if half > 0.5 * (len(head) // 2) and head.count(0) < 0.8 * len(head):
            found = f"looks like UTF-16 text without byte order mark (NUL at byte {byte})"
            raise _wrong_encoding(name, found, "UTF-16")
        raise DataError(
            f"{name}: is not text ({head.count(0)} of its first {len(head)} bytes are NUL, from byte {byte})"
        )


def _magic(head: bytes) -> str | None:
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), None)


def _wrong_encoding(name: str, found: str, encoding: str) -> DataError:
    return DataError(f"{name}: {found}, expected UTF-8; convert it (iconv -f {encoding} -t UTF-8)")
