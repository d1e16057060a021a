"""The files that the sources of a language consist of, and the check that the raw stage saw the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.artifact import Manifest, file_digest, read_json
from palimpsest.errors import DataError
from palimpsest.raw.local_files import fixed_folder
from palimpsest.settings.base import expand

REFERENCES = "references.json"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file to read: its name in outputs, its size and xxh3-128 as the raw stage saw them."""

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
                f"{self.xxh3_128}, found {size} bytes); run the pipeline again to use it as it is now"
            )


@dataclass(frozen=True, kw_only=True)
class SourceFiles:
    """A source's files in name order, the columns that hold text and id, and how many bytes of records to read."""

    name: str
    files: tuple[SourceFile, ...]
    text_column: str = "text"
    id_column: str = "id"
    max_bytes: int | None = None


def source_files(spec: Mapping[str, Any], raw: Manifest) -> list[SourceFiles]:
    """The sources of a corpus spec in its order, with the files that the raw folder holds or lists for each."""
    return [_source_files(source, raw) for source in spec["sources"]]


def _source_files(source: Mapping[str, Any], raw: Manifest) -> SourceFiles:
    files = tuple(sorted(_files(source, raw), key=lambda file: file.name))
    if not files:
        raise DataError(
            f"{raw.folder / source['name']}: the raw stage found no file for source {source['name']!r}; "
            "check it in corpus.sources"
        )
    # Parts that the raw stage wrote have the keys text and id, whatever the source calls its own.
    own = source["kind"] in ("local", "http")
    columns = {"text_column": source["text"], "id_column": source["id"]} if own else {}
    return SourceFiles(name=source["name"], files=files, max_bytes=source.get("max_bytes"), **columns)


def _files(source: Mapping[str, Any], raw: Manifest) -> Iterator[SourceFile]:
    if source.get("path"):
        root = fixed_folder(expand(source["path"]))
        for entry in read_json(raw.folder / source["name"] / REFERENCES):
            yield SourceFile(
                path=root / entry["name"], name=entry["name"], bytes=entry["bytes"], xxh3_128=entry["xxh3_128"]
            )
        return
    downloaded = source["kind"] in ("http", "warc")
    folder = f"{source['name']}/files/" if downloaded else f"{source['name']}/"
    for path in raw.paths(folder if downloaded else f"{folder}part-", "" if downloaded else ".jsonl.zst"):
        name = path.relative_to(raw.folder).as_posix()
        yield SourceFile(path=path, name=name.removeprefix(folder), **raw.files[name])
