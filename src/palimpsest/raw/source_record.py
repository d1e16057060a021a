"""The record of a raw source: source.json, which is written last and lists its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest import codec
from palimpsest.artifact import write_json
from palimpsest.errors import ArtifactError
from palimpsest.raw.download import DownloadedFile

SOURCE = "source.json"


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """The size and origin of a source; fields that do not apply to its kind are None."""

    kind: str
    licence: str | None
    origin: str | None
    files: int | None = None
    documents: int | None = None
    bytes: int | None = None
    dataset: str | None = None
    revision: str | None = None
    urls: tuple[DownloadedFile, ...] | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON, without the fields that do not apply to its kind."""
        always = ("licence", "origin")
        return {name: value for name, value in codec.encode(self).items() if value is not None or name in always}

    def __str__(self) -> str:
        counts = {"files": self.files, "documents": self.documents, "bytes": self.bytes}
        return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count is not None)


@dataclass(frozen=True, kw_only=True)
class SourceState(SourceRecord):
    """The contents of source.json: the record, the fingerprint of the request, and ``holds``: file → bytes."""

    fingerprint: str
    holds: dict[str, int]

    @property
    def counts(self) -> dict[str, Any]:
        """The record for the manifest."""
        return {name: value for name, value in self.plain().items() if name not in ("fingerprint", "holds")}

    def write(self, folder: Path) -> None:
        write_json(folder / SOURCE, self.plain())

    def is_complete(self, folder: Path) -> bool:
        """True if all files exist with their sizes."""
        sizes = ((folder / name, size) for name, size in self.holds.items())
        return all(path.is_file() and path.stat().st_size == size for path, size in sizes)


def read_state(folder: Path) -> SourceState | None:
    """The state in a source's folder, or None if it has no readable one."""
    try:
        return codec.read(SourceState, folder / SOURCE)
    except ArtifactError:
        return None
