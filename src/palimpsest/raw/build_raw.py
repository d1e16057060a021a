"""The raw text of a language, source by source: generated, found or downloaded. An edit of a filter fetches nothing.

Each source has a folder, whose ``source.json``, written last, keeps it when others change.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from palimpsest.artifact import MANIFEST, Manifest, fingerprint, read_json, write_json, write_manifest
from palimpsest.errors import ArtifactError, DataError
from palimpsest.file_types import Format, endings, file_type
from palimpsest.legacy_specs import placeless
from palimpsest.raw import dataset_source, inventory, parts, sample
from palimpsest.raw.download import download_files, file_names
from palimpsest.settings.base import expand

logger = logging.getLogger(__name__)
SOURCE = "source.json"
REFERENCES = "references.json"
FETCHED = "files"
_CLOZE_QUESTIONS = 200
# What an unfinished source of a kind goes on from.
_RESUMED = {"hf": ("part-*.jsonl.zst", dataset_source.JOURNAL), "http": (FETCHED,), "warc": (FETCHED,)}
# What in source.json is not part of the record.
_BOOKKEEPING = ("fingerprint", "holds")
Spec = dict[str, Any]
Made = tuple[dict[str, Any], list[Path]]


def build_raw(spec: Spec, out: Path, cache: Path) -> Manifest:
    """Write data/raw/{language}. ``cache`` remembers hashes of local files between calls."""
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    wanted = {source["name"] for source in spec["sources"]}
    for path in out.iterdir():
        if path.name not in wanted and _is_source(path):
            shutil.rmtree(path)
    records, files = {}, []
    for source in spec["sources"]:
        folder = out / source["name"]
        kept = _source(spec, source, folder, cache)
        records[source["name"]] = {key: value for key, value in kept.items() if key not in _BOOKKEEPING}
        files += [*(folder / name for name in kept["holds"]), folder / SOURCE]
    return write_manifest(out, stage="raw", params=placeless(spec), inputs={}, files=files, counts={"sources": records})


def _is_source(path: Path) -> bool:
    signs = (SOURCE, REFERENCES, FETCHED, dataset_source.JOURNAL, "part-*.jsonl.zst")
    return path.is_dir() and any(next(path.glob(sign), None) for sign in signs)


def _source(spec: Spec, source: Spec, folder: Path, cache: Path) -> dict[str, Any]:
    """The contents of ``source.json``: as they are if they are of what is asked for, else after making the source."""
    stock = spec["inventory"].get(source["name"])
    asked = fingerprint([spec["language"], placeless({"sources": [source]})["sources"], stock, spec["revision"]])
    if known := _known(folder, asked):
        logger.info("%s/%s: kept as it is", spec["language"], source["name"])
        return known
    _clear(folder, _RESUMED.get(source["kind"], ()))
    record, files = _make(spec["language"], source, stock, folder, cache)
    shown = ", ".join(f"{key} {record[key]:,}" for key in ("files", "documents", "bytes") if key in record)
    logger.info("%s/%s: %s", spec["language"], source["name"], shown)
    holds = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    common = {"kind": source["kind"], "licence": source["licence"], "origin": source["origin"]}
    write_json(folder / SOURCE, common | record | {"fingerprint": asked, "holds": holds})
    return dict(read_json(folder / SOURCE))


def _known(folder: Path, asked: str) -> dict[str, Any] | None:
    try:
        known = read_json(folder / SOURCE)
    except ArtifactError:
        return None
    if not isinstance(known, dict) or known.get("fingerprint") != asked:
        return None
    there = all((folder / name).is_file() and (folder / name).stat().st_size == size
                for name, size in known["holds"].items())  # fmt: skip
    return dict(known) if there else None


def _clear(folder: Path, keep: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCE).unlink(missing_ok=True)
    for path in folder.iterdir():
        if any(path.match(pattern) for pattern in keep):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _make(language: str, source: Spec, stock: str | None, folder: Path, cache: Path) -> Made:
    match source["kind"]:
        case "sample":
            return _sample(language, source, folder)
        case "hf":
            return dataset_source.read_dataset(source, stock, folder), dataset_source.dataset_outputs(folder)
        case "local":
            return _referenced(source, folder, cache)
        case "http":
            return _fetched(source, folder)
        case _:
            return _warc(source, folder, cache)


def _sample(language: str, source: Spec, folder: Path) -> Made:
    def stories() -> Iterator[sample.SampleDocument]:
        return sample.sample_documents(language, source["documents"], source["seed"])

    written = parts.write_parts((_line({"id": story.id, "text": story.text}) for story in stories()), folder)
    truth = (_line({"id": story.id, "truth": story.truth, "of": story.of}) for story in stories())
    parts.write_lines(truth, folder / "truth.jsonl.zst")
    questions = sample.cloze_questions(language, _CLOZE_QUESTIONS, source["seed"])
    parts.write_lines(map(_line, questions), folder / "cloze.jsonl.zst")
    record = {
        # The project's own, since it is written by the project.
        "licence": source["licence"] or "Apache-2.0",
        "documents": written.documents,
        "bytes": written.bytes,
    }
    return record, [parts.part(folder, number) for number in range(written.parts)] + [
        folder / "truth.jsonl.zst",
        folder / "cloze.jsonl.zst",
    ]


def _line(value: Any) -> bytes:
    return orjson.dumps(value) + b"\n"


def _referenced(source: Spec, folder: Path, cache: Path) -> Made:
    entries = inventory.list_files(expand(source["path"]), cache)
    write_json(folder / REFERENCES, entries)
    record = {"files": len(entries), "bytes": sum(entry["bytes"] for entry in entries)}
    return record, [folder / REFERENCES]


def _fetched(source: Spec, folder: Path) -> Made:
    urls = download_files(source["urls"], folder / FETCHED)
    record = {"files": len(urls), "bytes": sum(entry["bytes"] for entry in urls), "urls": urls}
    return record, [folder / FETCHED / entry["name"] for entry in urls]


def _warc(source: Spec, folder: Path, cache: Path) -> Made:
    if source["urls"]:
        _check_warc(file_names(source["urls"]), source["name"])
        return _fetched(source, folder)
    made = _referenced(source, folder, cache)
    _check_warc((entry["name"] for entry in read_json(folder / REFERENCES)), source["name"])
    return made


def _check_warc(names: Iterable[str], source: str) -> None:
    for name in names:
        found = file_type(name)
        if found is None or found.format is not Format.WARC:
            raise DataError(
                f"{name}: source {source!r} is of kind warc, whose files must end in {endings(Format.WARC)}; "
                "narrow its path, name the file so, or use kind local or http for other forms"
            )
