"""What kind of file a name promises, and whether its first bytes keep the promise."""

from __future__ import annotations

import re
from pathlib import Path

from palimpsest.errors import DataError

KINDS = {
    "lines": (".jsonl",),
    "text": (".txt", ".text"),
    "parquet": (".parquet",),
    "warc": (".warc", ".wet"),
}
_PACKINGS = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {
    "gzip": b"\x1f\x8b\x08",
    "zstd": b"\x28\xb5\x2f\xfd",
    "Parquet": b"PAR1",
    "ZIP": b"PK\x03\x04",
    "xz": b"\xfd7zXZ\0",
    "PDF": b"%PDF-",
    "Arrow": b"ARROW1",
}
_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_LOOKED_AT = 4096
# JSON never holds a NUL, and text that does holds few; every second byte of Latin UTF-16 is one.
_MANY_NULS = 0.2
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")


def kind_of(name: str) -> str | None:
    """A key of KINDS, by the name's ending; packed Parquet is not read."""
    bare = re.sub(r"\.(gz|zst)$", "", name)
    for kind, endings in KINDS.items():
        if bare.endswith(endings) and (kind != "parquet" or bare == name):
            return kind
    return None


def check_packing(path: Path, name: str, kind: str) -> None:
    """Raise DataError when the file is of another known format than its name says."""
    with path.open("rb") as file:
        head = file.read(8)
    expected = "Parquet" if kind == "parquet" else _PACKINGS.get(Path(name).suffix)
    found = next((format for format, magic in _MAGIC.items() if head.startswith(magic)), None)
    if found and found != expected:
        raise DataError(
            f"{name}: holds {found} data at byte 0, which its name does not say; give it the ending of what it is, "
            "or unpack it"
        )
    if expected in _PACKINGS.values() and head and not found and not _SKIPPABLE.match(head):
        raise DataError(
            f"{name}: holds no {expected} data at byte 0, as its name says; give it the ending of what it is"
        )


def check_content(piece: bytes, name: str) -> None:
    """Raise DataError when unpacked contents begin as no UTF-8 text does."""
    for mark, encoding in _MARKS.items():
        if piece.startswith(mark):
            raise DataError(_convert(name, f"is {encoding} text (byte order mark at byte 0)", encoding))
    if found := next((format for format, magic in _MAGIC.items() if piece.startswith(magic)), None):
        raise DataError(f"{name}: holds {found} data inside, at byte 0; unpack it")
    head = piece[:_LOOKED_AT]
    if head.count(0) > _MANY_NULS * len(head):
        byte = head.index(0)
        half = max(head[::2].count(0), head[1::2].count(0))
        if half > 0.5 * (len(head) // 2) and head.count(0) < 0.8 * len(head):
            raise DataError(
                _convert(name, f"looks like UTF-16 text without byte order mark (NUL at byte {byte})", "UTF-16")
            )
        raise DataError(
            f"{name}: is no text ({head.count(0)} of its first {len(head)} bytes are NUL, from byte {byte})"
        )


def _convert(name: str, found: str, encoding: str) -> str:
    return f"{name}: {found}, expected UTF-8; convert it (iconv -f {encoding} -t UTF-8)"
