"""The file types of sources, by file extension: the one table that downloading, reading and planning use.

Whether the first bytes of a file agree with its extension is checked where it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """What a file holds once it is decompressed."""

    JSON_LINES = "JSON Lines"
    # One record a line in datasets on the hub; elsewhere such a file is mostly one document, and is not read.
    JSON = "JSON"
    TEXT = "text"
    PARQUET = "Parquet"
    WARC = "WARC"


class Compression(StrEnum):
    """How a file is compressed as a whole. Parquet compresses its own pages instead."""

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
    """The type of a file by its name; None for an unknown extension, and for Parquet that is compressed again."""
    stem, packed = _split(name)
    for extension, format in _FORMATS.items():
        if stem.endswith(extension):
            return None if packed and format is Format.PARQUET else FileType(format, packed)
    return None


def compression(name: str) -> Compression | None:
    """How a file of any format is compressed, by its name."""
    return _split(name)[1]


def extensions(*formats: Format) -> str:
    """The extensions of some formats, for an error message."""
    single = [extension for extension, format in _FORMATS.items() if format in formats and format is not Format.PARQUET]
    listed = f"{', '.join(sorted(single))} (or these with {', '.join(_COMPRESSIONS)})"
    return f"{listed}, .parquet" if Format.PARQUET in formats else listed


def _split(name: str) -> tuple[str, Compression | None]:
    for extension, compression in _COMPRESSIONS.items():
        if name.endswith(extension):
            return name.removesuffix(extension), compression
    return name, None
