"""A source of kind hf: the rows of a dataset's files as parts, file by file, so that a killed run goes on."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palimpsest.artifact import atomic_file, canonical_json, fingerprint
from palimpsest.errors import DataError
from palimpsest.progress import Progress
from palimpsest.raw import dataset_files, parts
from palimpsest.raw.dataset_records import RecordStatistics, read_records
from palimpsest.raw.parts import Quota

logger = logging.getLogger(__name__)
# One line for each of the dataset's files that was read to its end or to the quota, written when its parts are there.
JOURNAL = "read.jsonl"
_SHAPING = ("dataset", "revision", "files", "text", "id", "max_documents", "max_bytes")
# Rows without text, from the beginning of a source, that are taken for a wrong column.
_SUSPECT = 1000
Entry = dict[str, Any]


def read_dataset(source: dict[str, Any], inventory: str | None, folder: Path) -> dict[str, Any]:
    """Write the parts and the journal of one source, and return its record."""
    found = dataset_files.dataset(source)
    files = found.files(source["files"])
    if not files:
        raise DataError(f"{found.title}: files {source['files']!r} matches none; check files of this source")
    quota = Quota(documents=source["max_documents"], size=source["max_bytes"])
    entries = _resumed(folder, _key(source, inventory))
    for entry in entries:
        quota.spend(entry["documents"], entry["bytes"])
    for file in files[len(entries) :]:
        if quota.spent or (entries and not entries[-1]["whole"]):
            break
        entries.append(_read(found, file, source, quota, folder, sum(entry["parts"] for entry in entries)))
        _check_text(entries, source, found.title)
        _append(folder / JOURNAL, entries[-1])
        logger.info("%s: %d of %d files read, %s bytes of documents", found.title, len(entries), len(files),
                    f"{sum(entry['bytes'] for entry in entries):,}")  # fmt: skip
    if not any(entry["texts"] for entry in entries):
        raise DataError(_no_text(found.title, source, entries))
    return {
        "licence": source["licence"] or found.licence(),
        "files": len(entries),
        "bytes": sum(entry["bytes"] for entry in entries),
        "documents": sum(entry["documents"] for entry in entries),
    } | ({} if Path(source["dataset"]).is_dir() else {key: source[key] for key in ("dataset", "revision")})


def dataset_outputs(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("part-*.jsonl.zst")), folder / JOURNAL]


def _read(
    found: dataset_files.Dataset, file: dataset_files.File, source: Entry, quota: Quota, folder: Path, first: int
) -> Entry:
    tally = RecordStatistics()

    def lines(opened: Any) -> Iterator[bytes]:
        return _shown(quota.take(read_records(opened, file.name, source["text"], source["id"], tally)), file.name)

    try:
        with found.open(file) as opened:
            written = parts.write_parts(lines(opened), folder, first)
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(found.title) else f"{found.title}: {error}") from None
    return {
        "name": file.name,
        "documents": written.documents,
        "bytes": written.bytes,
        "parts": written.parts,
        "texts": tally.texts,
        "keys": [] if tally.texts else tally.keys,
        "whole": not quota.full,
    }


def _shown(lines: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The lines, while the log or the terminal tells how many bytes of them came."""
    with Progress(name, total=None, unit="bytes") as progress:
        size = 0
        for documents, line in enumerate(lines, 1):
            yield line
            size += len(line)
            progress.update(size, f"{documents:,} documents")


def _check_text(entries: list[Entry], source: Entry, title: str) -> None:
    """Raise DataError when so many rows came without any text that the column must be wrong."""
    if not any(entry["texts"] for entry in entries) and sum(entry["documents"] for entry in entries) >= _SUSPECT:
        raise DataError(_no_text(title, source, entries))


def _no_text(title: str, source: Entry, entries: list[Entry]) -> str:
    keys: list[str] = next((entry["keys"] for entry in entries if entry["keys"]), [])
    has = f"; the first row has {', '.join(keys)}" if keys else ""
    return f"{title}: no row of {source['files']!r} has text under {source['text']!r}{has}; check text of this source"


def _key(source: Entry, inventory: str | None) -> str:
    """What shapes the parts: a journal with another key is of other parts."""
    shaping = {key: source[key] for key in _SHAPING}
    if Path(source["dataset"]).is_dir():
        del shaping["dataset"]
    return fingerprint([shaping, inventory, parts.PART_BYTES])


def _resumed(folder: Path, key: str) -> list[Entry]:
    """What earlier runs finished, as far as its parts are there; anything else is removed."""
    path = folder / JOURNAL
    kept = [canonical_json({"key": key}) + b"\n"]
    entries: list[Entry] = []
    head, *lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else [b""]
    for line in lines if head == kept[0] else []:
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
        except ValueError:
            break
        before = sum(earlier["parts"] for earlier in entries)
        if not all(parts.part(folder, before + number).is_file() for number in range(entry["parts"])):
            break
        entries.append(entry)
        kept.append(line)
    parts.remove_parts(folder, sum(entry["parts"] for entry in entries))
    with atomic_file(path) as file:
        file.write(b"".join(kept))
    return entries


def _append(path: Path, entry: Entry) -> None:
    with path.open("ab") as file:
        file.write(canonical_json(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())
