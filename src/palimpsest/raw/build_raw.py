"""Stage raw: the documents of a language, generated, listed or downloaded source by source (data/raw/{language}).

Each source has a folder with a source.json, written last, so that it is reused when other sources or the cleaning
change.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from palimpsest import codec
from palimpsest.artifact import MANIFEST, Manifest, fingerprint, write_manifest
from palimpsest.raw.dataset_source import JOURNAL
from palimpsest.raw.read_source import DOWNLOADS, REFERENCES, read_source
from palimpsest.raw.source_record import SOURCE, SourceState, read_state
from palimpsest.settings.sources import Source
from palimpsest.specs.data import RawSpec

logger = logging.getLogger(__name__)
_PARTS = "part-*.jsonl.zst"
# Kind of source → patterns of the files from which an unfinished one resumes.
_RESUMED = {"hf": (_PARTS, JOURNAL), "http": (DOWNLOADS,), "warc": (DOWNLOADS,)}


def build_raw(spec: RawSpec, out: Path, cache: Path) -> Manifest:
    """Write data/raw/{language}. ``cache``: file with hashes of local files. Raises DataError."""
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    sources = {str(source.name): source for source in spec.sources}
    for path in out.iterdir():
        if path.name not in sources and _is_source(path):
            shutil.rmtree(path)
    for path in out.glob(".*.tmp"):  # left by a killed run
        path.unlink()
    states = {name: _build_source(spec, source, out / name, cache) for name, source in sources.items()}
    files = [out / name / file for name, state in states.items() for file in [*state.holds, SOURCE]]
    counts = {"sources": {name: state.counts for name, state in states.items()}}
    return write_manifest(
        out, stage="raw", params=codec.fingerprint_fields(spec), inputs={}, files=files, counts=counts
    )


def _is_source(path: Path) -> bool:
    patterns = (SOURCE, REFERENCES, DOWNLOADS, JOURNAL, _PARTS)
    return path.is_dir() and any(next(path.glob(pattern), None) for pattern in patterns)


def _build_source(spec: RawSpec, source: Source, folder: Path, cache: Path) -> SourceState:
    """Read a source, or reuse its folder if it was built from the same spec and files."""
    title, inventory = f"{spec.language}/{source.name}", spec.inventory.get(str(source.name))
    wanted = fingerprint([spec.language, codec.fingerprint_fields(source), inventory, spec.revision])
    state = read_state(folder)
    if state and state.fingerprint == wanted and state.is_complete(folder):
        logger.info("%s: unchanged", title)
        return state
    _clear(folder, _RESUMED.get(source.kind, ()))
    record, files = read_source(spec.language, source, inventory, folder, cache)
    logger.info("%s: %s", title, record)
    holds = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    state = SourceState(**vars(record), fingerprint=wanted, holds=holds)
    state.write(folder)
    return state


def _clear(folder: Path, retained: tuple[str, ...]) -> None:
    """Remove everything from a folder except what matches the patterns ``retained``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCE).unlink(missing_ok=True)
    for path in folder.iterdir():
        if any(path.match(pattern) for pattern in retained):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
