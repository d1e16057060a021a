"""The files that the sources of a language consist of, and the check that the raw stage saw the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from palimpsest.artifact import Manifest, file_digest, read_json
from palimpsest.errors import DataError
from palimpsest.raw.local_files import fixed_folder
from palimpsest.settings.base import expand
from palimpsest.settings.sources import HttpSource, LocalSource, Source, Sources, WarcSource

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


def source_files(sources: Sources, raw: Manifest) -> list[SourceFiles]:
    """The sources in their order, with the files that the raw folder holds or lists for each."""
    return [_source_files(source, raw) for source in sources]


def _source_files(source: Source, raw: Manifest) -> SourceFiles:
    name = str(source.name)
    files = tuple(sorted(_files(source, name, raw), key=lambda file: file.name))
    if not files:
        raise DataError(
            f"{raw.folder / name}: the raw stage found no file for source {name!r}; check it in corpus.sources"
        )
    # Parts that the raw stage wrote have the keys text and id, whatever the source calls its own.
    if isinstance(source, LocalSource | HttpSource):
        return SourceFiles(
            name=name, files=files, max_bytes=source.max_bytes, text_column=source.text, id_column=source.id
        )
    return SourceFiles(name=name, files=files, max_bytes=source.max_bytes)


def _files(source: Source, name: str, raw: Manifest) -> Iterator[SourceFile]:
    match source:
        case LocalSource(path=str(path)) | WarcSource(path=str(path)):
            yield from _referenced_files(path, raw.folder / name)
        case HttpSource() | WarcSource():
            yield from _raw_files(raw, f"{name}/files/")
        case _:
            yield from _raw_files(raw, f"{name}/", "part-", ".jsonl.zst")


def _referenced_files(pattern: str, folder: Path) -> Iterator[SourceFile]:
    """Local files, which the raw stage lists and leaves where they are."""
    root = fixed_folder(expand(pattern))
    for entry in read_json(folder / REFERENCES):
        yield SourceFile(
            path=root / entry["name"], name=entry["name"], bytes=entry["bytes"], xxh3_128=entry["xxh3_128"]
        )


def _raw_files(raw: Manifest, folder: str, prefix: str = "", suffix: str = "") -> Iterator[SourceFile]:
    """Files in a folder of the raw stage, named relative to it."""
    for path in raw.paths(folder + prefix, suffix):
        name = path.relative_to(raw.folder).as_posix()
        yield SourceFile(
            path=path, name=name.removeprefix(folder), bytes=raw.files[name].bytes, xxh3_128=raw.files[name].xxh3_128
        )
