"""Which files the sources of a language stand for, and whether they are still what the raw stage saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.artifact import Manifest, file_digest, read_json
from palimpsest.errors import DataError
from palimpsest.paths import expand
from palimpsest.raw.inventory import fixed_folder

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


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source's files in name order, the columns that hold id and text, and how many bytes of records to read."""

    name: str
    files: tuple[Input, ...]
    text: str = "text"
    id: str = "id"
    max_bytes: int | None = None


def sources(spec: Mapping[str, Any], raw: Manifest) -> list[Source]:
    """The sources of a corpus spec in its order, with the files that the raw folder holds or lists for each."""
    return [_source(given, raw) for given in spec["sources"]]


def _source(given: Mapping[str, Any], raw: Manifest) -> Source:
    files = tuple(sorted(_inputs(given, raw), key=lambda file: file.name))
    if not files:
        raise DataError(
            f"{raw.folder / given['name']}: the raw stage found no file for source {given['name']!r}; "
            "check it in corpus.sources"
        )
    # Parts that the raw stage wrote have the keys text and id, whatever the source calls its own.
    own = given["kind"] in ("local", "http")
    columns = {"text": given["text"], "id": given["id"]} if own else {}
    return Source(name=given["name"], files=files, max_bytes=given.get("max_bytes"), **columns)


def _inputs(given: Mapping[str, Any], raw: Manifest) -> Iterator[Input]:
    if given.get("path"):
        root = fixed_folder(expand(given["path"]))
        for entry in read_json(raw.folder / given["name"] / REFERENCES):
            yield Input(path=root / entry["name"], name=entry["name"], bytes=entry["bytes"], xxh3_128=entry["xxh3_128"])
        return
    fetched = given["kind"] in ("http", "warc")
    folder = f"{given['name']}/files/" if fetched else f"{given['name']}/"
    for path in raw.paths(f"{folder}" if fetched else f"{folder}part-", "" if fetched else ".jsonl.zst"):
        name = path.relative_to(raw.folder).as_posix()
        yield Input(path=path, name=name.removeprefix(folder), **raw.files[name])
