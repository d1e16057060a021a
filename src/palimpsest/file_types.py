"""The file types of sources: the format and compression that the ending of a file name denotes.

The one table that downloading, reading and planning look at. Whether a file's first bytes agree with its name is
checked where it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """What a file holds once it is decompressed."""

    JSON_LINES = "JSON Lines"
    # One record a line in datasets of the hub; elsewhere such a file is mostly one document, and is not read.
    JSON = "JSON"
    TEXT = "text"
    PARQUET = "Parquet"
    WARC = "WARC"


class Compression(StrEnum):
    """How a whole file is compressed. Parquet compresses its own pages instead."""

    GZIP = "gzip"
    ZSTD = "zstd"


_FORMATS = {
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".json": Format.JSON,
    ".txt": Format.TEXT,
    ".text": Format.TEXT,
    ".parquet": Format.PARQUET,
    ".warc": Format.WARC,
    ".wet": Format.WARC,
}
_COMPRESSIONS = {".gz": Compression.GZIP, ".zst": Compression.ZSTD, ".zstd": Compression.ZSTD}


@dataclass(frozen=True)
class FileType:
    """A format, and the compression around it."""

    format: Format
    compression: Compression | None = None


def file_type(name: str) -> FileType | None:
    """The type of a file by its name; None for an unknown ending, and for Parquet compressed as a whole."""
    stem, packed = _split(name)
    for ending, format in _FORMATS.items():
        if stem.endswith(ending):
            return None if packed and format is Format.PARQUET else FileType(format, packed)
    return None


def compression(name: str) -> Compression | None:
    """How a file of any format is compressed, by its name."""
    return _split(name)[1]


def endings(*formats: Format) -> str:
    """The endings of some formats, for a message."""
    single = [ending for ending, format in _FORMATS.items() if format in formats and format is not Format.PARQUET]
    listed = f"{', '.join(sorted(single))} (or these with {', '.join(_COMPRESSIONS)})"
    return f"{listed}, .parquet" if Format.PARQUET in formats else listed


def _split(name: str) -> tuple[str, Compression | None]:
    for ending, kind in _COMPRESSIONS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), kind
    return name, None
