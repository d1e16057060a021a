"""Which files a language's raw folder stands for, and whether they are still what it says they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.artifact import Manifest, file_digest, read_json
from palimpsest.errors import DataError
from palimpsest.params import expand
from palimpsest.raw.inventory import fixed_part

REFERENCES = "references.json"


@dataclass(frozen=True, kw_only=True)
class Input:
    """One file to read: ``name`` as it goes into outputs, size in bytes and xxh3-128 as the raw stage saw them."""

    path: Path
    name: str
    bytes: int
    xxh3_128: str

    def verify(self) -> None:
        """Raise DataError when the file is gone or no longer the one that the raw stage saw."""
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such file, but the raw stage saw it; run the pipeline again")
        size = self.path.stat().st_size
        if size != self.bytes or file_digest(self.path) != self.xxh3_128:
            raise DataError(
                f"{self.path}: changed since the raw stage saw it (expected {self.bytes} bytes with xxh3-128 "
                f"{self.xxh3_128}, found {size} bytes); run the pipeline again, and it will be taken as it is now"
            )


def inputs(source: Mapping[str, Any], raw: Manifest) -> list[Input]:
    """The files of a source in name order: the raw folder's parts, or the local files that it lists."""
    if source["kind"] == "local":
        root = fixed_part(expand(source["path"]))
        entries = [(root / entry["name"], entry) for entry in read_json(raw.folder / REFERENCES)]
    else:
        entries = [(path, {"name": path.name, **raw.files[path.name]}) for path in raw.paths("part-", ".jsonl.zst")]
    found = [
        Input(path=path, name=entry["name"], bytes=entry["bytes"], xxh3_128=entry["xxh3_128"])
        for path, entry in entries
    ]
    if not found:
        raise DataError(f"{raw.folder}: the raw stage found no file; check this language's entry in corpus.sources")
    return sorted(found, key=lambda file: file.name)
