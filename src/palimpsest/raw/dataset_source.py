"""Sources of kind hf: writes the records of a dataset as parts, file by file, so that a killed run resumes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from palimpsest import codec
from palimpsest.artifact import atomic_file, canonical_json, fingerprint
from palimpsest.errors import ArtifactError, DataError
from palimpsest.progress import Progress
from palimpsest.raw import parts
from palimpsest.raw.dataset_files import DatasetFile, DatasetFiles, dataset_files
from palimpsest.raw.dataset_records import RecordStatistics, read_records
from palimpsest.raw.parts import Quota
from palimpsest.settings.sources import HfSource

logger = logging.getLogger(__name__)
# One line per file of the dataset that was read to its end or to the quota, written after its parts.
JOURNAL = "read.jsonl"
_SHAPING = ("dataset", "revision", "files", "text", "id", "max_documents", "max_bytes")
# If the first so many records of a source have no text, its text column must be wrong.
_WRONG_COLUMN_RECORDS = 1000


@dataclass(frozen=True, kw_only=True)
class FileRead:
    """An entry of the journal: what a file contributed. ``whole`` is False if the quota ended it.

    ``texts`` counts the records with text; if there are none, ``keys`` are those of the first record.
    """

    name: str
    documents: int
    bytes: int
    parts: int
    texts: int
    keys: tuple[str, ...]
    whole: bool


@dataclass(frozen=True, kw_only=True)
class DatasetRead:
    """The totals of a source. ``licence``: of the source, or else of the dataset card."""

    licence: str | None
    files: int
    bytes: int
    documents: int


def read_dataset(source: HfSource, inventory: str | None, folder: Path) -> DatasetRead:
    """Write the parts and the journal of a source into ``folder``. ``inventory``: the hash of a local dataset's files.

    Raises DataError if no file matches, one cannot be read, or none has text in the source's column.
    """
    dataset = dataset_files(source)
    files = dataset.list(source.files)
    if not files:
        raise DataError(f"{dataset.title}: files: {source.files!r} matches no file; correct the glob of this source")
    quota = Quota(documents=source.max_documents, size=source.max_bytes)
    done = _resume(folder, _identity(source, inventory))
    for file_read in done:
        quota.spend(file_read.documents, file_read.bytes)
    for file in files[len(done) :]:
        if quota.spent or (done and not done[-1].whole):
            break
        done.append(_read_file(dataset, file, source, quota, folder, sum(file_read.parts for file_read in done)))
        _check_text(done, source, dataset.title)
        _append(folder / JOURNAL, done[-1])
        logger.info("%s: %d of %d files read", dataset.title, len(done), len(files))
    if not any(file_read.texts for file_read in done):
        raise DataError(_no_text(dataset.title, source, done))
    return DatasetRead(
        licence=source.licence or dataset.licence(),
        files=len(done),
        bytes=sum(file_read.bytes for file_read in done),
        documents=sum(file_read.documents for file_read in done),
    )


def dataset_outputs(folder: Path) -> list[Path]:
    """The files that ``read_dataset`` writes."""
    return [*sorted(folder.glob("part-*.jsonl.zst")), folder / JOURNAL]


def _read_file(
    dataset: DatasetFiles, file: DatasetFile, source: HfSource, quota: Quota, folder: Path, first_part: int
) -> FileRead:
    statistics = RecordStatistics()

    def lines(opened: BinaryIO) -> Iterator[bytes]:
        records = read_records(opened, file.name, source.text, source.id, statistics)
        return _with_progress(quota.take(records), file.name)

    try:
        with dataset.open(file) as opened:
            written = parts.write_parts(lines(opened), folder, first_part)
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(dataset.title) else f"{dataset.title}: {error}") from None
    return FileRead(
        name=file.name,
        documents=written.documents,
        bytes=written.bytes,
        parts=written.parts,
        texts=statistics.texts,
        keys=() if statistics.texts else tuple(statistics.keys),
        whole=not quota.full,
    )


def _with_progress(lines: Iterator[bytes], name: str) -> Iterator[bytes]:
    with Progress(name, total=None, unit="bytes") as progress:
        size = 0
        for documents, line in enumerate(lines, 1):
            yield line
            size += len(line)
            progress.update(size, f"{documents:,} documents")


def _check_text(done: list[FileRead], source: HfSource, title: str) -> None:
    """Raises DataError if so many records have no text that the column must be wrong."""
    if any(file_read.texts for file_read in done):
        return
    if sum(file_read.documents for file_read in done) >= _WRONG_COLUMN_RECORDS:
        raise DataError(_no_text(title, source, done))


def _no_text(title: str, source: HfSource, done: list[FileRead]) -> str:
    keys = next((file_read.keys for file_read in done if file_read.keys), ())
    has = f"; the first record has {', '.join(keys)}" if keys else ""
    return f"{title}: no record of {source.files!r} has text under {source.text!r}{has}; check text of this source"


def _identity(source: HfSource, inventory: str | None) -> str:
    """The hash of everything that determines the parts: a journal with another hash belongs to other parts."""
    shaping = [getattr(source, name) for name in _SHAPING]  # a local dataset has no name, but an inventory
    return fingerprint([shaping, inventory, parts.PART_BYTES])


def _resume(folder: Path, identity: str) -> list[FileRead]:
    """The files that earlier runs finished and whose parts all exist; everything after them is removed."""
    path = folder / JOURNAL
    journal = [canonical_json({"key": identity}) + b"\n"]
    done: list[FileRead] = []
    head, *lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else [b""]
    for line in lines if head == journal[0] else []:
        if not line.endswith(b"\n"):
            break
        try:
            file_read = codec.decode(FileRead, json.loads(line), str(path))
        except (ValueError, ArtifactError):
            break
        before = sum(earlier.parts for earlier in done)
        if not all(parts.part(folder, before + number).is_file() for number in range(file_read.parts)):
            break
        done.append(file_read)
        journal.append(line)
    parts.remove_parts(folder, sum(file_read.parts for file_read in done))
    with atomic_file(path) as file:
        file.write(b"".join(journal))
    return done


def _append(path: Path, file_read: FileRead) -> None:
    with path.open("ab") as file:
        file.write(canonical_json(codec.encode(file_read)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
