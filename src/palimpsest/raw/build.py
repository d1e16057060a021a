"""The raw text of a language, generated, found or downloaded: an edit of a filter fetches nothing again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import zstandard

from palimpsest.artifact import MANIFEST, Manifest, atomic_file, write_json, write_manifest
from palimpsest.errors import DataError
from palimpsest.params import expand
from palimpsest.raw import hub, inventory, sample
from palimpsest.recipe import placeless

logger = logging.getLogger(__name__)
_CLOZE_QUESTIONS = 200
_PART_BYTES = 256_000_000
Result = tuple[list[Path], dict[str, Any]]


def build(spec: dict[str, Any], out: Path, cache: Path) -> Manifest:
    """Write data/raw/{language}. ``cache`` remembers hashes of local files between calls."""
    source = spec["source"]
    kinds: dict[str, Callable[[], Result]] = {
        "sample": lambda: _sample(spec["language"], source, out),
        "local": lambda: _local(source, out, cache),
        "hf": lambda: _hub(source, out),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    files, counts = kinds[source["kind"]]()
    logger.info("%s: %s", spec["language"], ", ".join(f"{key} {value:,}" for key, value in counts.items()))
    params = spec | {"source": placeless(source)}
    return write_manifest(out, stage="raw", params=params, inputs={}, files=files, counts=counts)


def _sample(language: str, source: dict[str, Any], out: Path) -> Result:
    def stories() -> Iterator[dict[str, Any]]:
        for story in sample.documents(language, source["documents"], source["seed"]):
            yield {"id": story.id, "text": story.text}

    truth = (
        {"id": story.id, "truth": story.truth, "of": story.of}
        for story in sample.documents(language, source["documents"], source["seed"])
    )
    parts, counts = _write_parts(stories(), out)
    _write_lines(out / "truth.jsonl.zst", truth)
    _write_lines(out / "cloze.jsonl.zst", sample.cloze(language, _CLOZE_QUESTIONS, source["seed"]))
    return [*parts, out / "truth.jsonl.zst", out / "cloze.jsonl.zst"], counts


def _local(source: dict[str, Any], out: Path, cache: Path) -> Result:
    entries = inventory.take(expand(source["path"]), cache)
    write_json(out / "references.json", entries)
    return [out / "references.json"], {"files": len(entries), "bytes": sum(entry["bytes"] for entry in entries)}


def _hub(source: dict[str, Any], out: Path) -> Result:
    parts, counts = _write_parts(hub.documents(source), out)
    if not counts["documents"]:
        raise DataError(
            f"{source['dataset']}: no document with text in column {source['text']!r} of {source['files']!r}; "
            "check text and files of this source"
        )
    return parts, counts


def _write_parts(lines: Iterable[dict[str, Any]], out: Path) -> Result:
    """Numbered JSONL.zst parts of about ``_PART_BYTES`` before compression; memory does not grow with them."""
    for stale in out.glob("part-*.jsonl.zst"):
        stale.unlink()
    waiting, documents, size = iter(lines), 0, 0
    parts: list[Path] = []
    line = next(waiting, None)
    while line is not None:
        path, filled = out / f"part-{len(parts):05d}.jsonl.zst", 0
        with atomic_file(path) as file, zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed:
            while line is not None and filled < _PART_BYTES:
                data = orjson.dumps(line) + b"\n"
                packed.write(data)
                filled, documents = filled + len(data), documents + 1
                line = next(waiting, None)
        parts.append(path)
        size += filled
    return parts, {"documents": documents, "bytes": size}


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with atomic_file(path) as file, zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as packed:
        for line in lines:
            packed.write(orjson.dumps(line) + b"\n")
