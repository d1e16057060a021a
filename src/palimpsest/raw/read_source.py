"""Reads one source of a language into its folder, by kind: generates, downloads or lists its documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from palimpsest import codec
from palimpsest.artifact import write_json
from palimpsest.errors import DataError
from palimpsest.file_types import Format, extensions, file_type
from palimpsest.raw import parts, sample
from palimpsest.raw.dataset_source import dataset_outputs, read_dataset
from palimpsest.raw.download import download_files, file_names
from palimpsest.raw.local_files import LocalFile, list_files
from palimpsest.raw.source_record import SourceRecord
from palimpsest.settings.base import expand
from palimpsest.settings.sources import AnySource, Download, HfSource, HttpSource, LocalSource, SampleSource, Source

REFERENCES = "references.json"
DOWNLOADS = "files"
_CLOZE_QUESTIONS = 200
# The project writes the sample corpus, so its own licence holds.
_SAMPLE_LICENCE = "Apache-2.0"


class SourceContents(NamedTuple):
    """The record of a source, and the files that its folder has now."""

    record: SourceRecord
    files: list[Path]


def read_source(language: str, source: Source, inventory: str | None, folder: Path, cache: Path) -> SourceContents:
    """Read a source; ``inventory`` is the hash of its local files. Raises DataError."""
    match source:
        case SampleSource():
            return _generate(language, source, folder)
        case HfSource():
            return _read_dataset(source, inventory, folder)
        case HttpSource():
            return _download(source, source.urls, folder)
        case LocalSource():
            return _list(source, list_files(expand(source.path), cache), folder)
    if source.urls:
        _check_warc(file_names(source.urls), source)
        return _download(source, source.urls, folder)
    files = list_files(expand(str(source.path)), cache)
    _check_warc((file.name for file in files), source)
    return _list(source, files, folder)


def _record(source: Source, **fields: Any) -> SourceRecord:
    return SourceRecord(**{"kind": source.kind, "licence": source.licence, "origin": source.origin} | fields)


def _generate(language: str, source: SampleSource, folder: Path) -> SourceContents:
    def documents() -> Iterator[sample.SampleDocument]:
        return sample.sample_documents(language, source.documents, source.seed)

    written = parts.write_parts((_line({"id": each.id, "text": each.text}) for each in documents()), folder)
    truth, cloze = folder / "truth.jsonl.zst", folder / "cloze.jsonl.zst"
    parts.write_lines((_line({"id": each.id, "truth": each.truth, "of": each.of}) for each in documents()), truth)
    parts.write_lines(map(_line, sample.cloze_questions(language, _CLOZE_QUESTIONS, source.seed)), cloze)
    licence = source.licence or _SAMPLE_LICENCE
    record = _record(source, licence=licence, documents=written.documents, bytes=written.bytes)
    return SourceContents(record, [*(parts.part(folder, number) for number in range(written.parts)), truth, cloze])


def _line(value: Any) -> bytes:
    return orjson.dumps(value) + b"\n"


def _read_dataset(source: HfSource, inventory: str | None, folder: Path) -> SourceContents:
    read = read_dataset(source, inventory, folder)
    hub = {} if source.folder else {"dataset": source.dataset, "revision": source.revision}
    counts = {"files": read.files, "documents": read.documents, "bytes": read.bytes}
    return SourceContents(_record(source, licence=read.licence, **counts, **hub), dataset_outputs(folder))


def _list(source: Source, files: Sequence[LocalFile], folder: Path) -> SourceContents:
    write_json(folder / REFERENCES, codec.encode(files))
    record = _record(source, files=len(files), bytes=sum(file.bytes for file in files))
    return SourceContents(record, [folder / REFERENCES])


def _download(source: Source, urls: Sequence[Download], folder: Path) -> SourceContents:
    files = download_files(urls, folder / DOWNLOADS)
    record = _record(source, files=len(files), bytes=sum(file.bytes for file in files), urls=tuple(files))
    return SourceContents(record, [folder / DOWNLOADS / file.name for file in files])


def _check_warc(names: Iterable[str], source: AnySource) -> None:
    for name in names:
        found = file_type(name)
        if found is None or found.format is not Format.WARC:
            raise DataError(
                f"{name}: source {source.name!r} is of kind warc, whose files must end in {extensions(Format.WARC)}; "
                "narrow its path, name the file so, or use kind local or http for other forms"
            )
