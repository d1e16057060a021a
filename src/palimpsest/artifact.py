"""The output of a stage: a folder of files and one manifest.json, written last.

Stages meet only through these folders. The manifest lists what shaped the folder (``params``, the fingerprint fields of
the stage's spec), the hashes of its inputs' manifests (``inputs``), its files with size and xxh3-128, and counts. It
has no clock, host name or absolute path, so equal work gives equal bytes. A folder without a manifest is unfinished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import xxhash

from palimpsest.errors import ArtifactError

MANIFEST = "manifest.json"
VERSION = 1
_CHUNK = 1 << 22


def canonical_json(value: Any) -> bytes:
    """A JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def file_digest(path: Path) -> str:
    """xxh3-128 (hex) of a file's bytes, read in chunks."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at ``path`` when the block ends, complete and fsynced, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make what was written to a file, or the renames inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON (indented, sorted keys) atomically. NaN and infinity are refused."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read a JSON file, or raise ArtifactError naming it."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the stage that writes it first") from None
    except ValueError as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); delete it and run its stage again") from None


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """Size and hash (hex) of a file when it was written."""

    bytes: int
    xxh3_128: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The contents of a manifest.json, and its folder. ``inputs``: role → hash of the input's manifest."""

    folder: Path
    stage: str
    params: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, FileEntry]
    counts: dict[str, Any]
    digest: str

    def check(self, *names: str) -> None:
        """Raise ArtifactError for a file whose bytes are not those that were written."""
        for name in names:
            if file_digest(self.folder / name) != self.files[name].xxh3_128:
                raise ArtifactError(
                    f"{self.folder / name}: is corrupt: its hash is not the one in {self.folder / MANIFEST}; delete "
                    "both and run again, or restore them with `dvc checkout`"
                )

    def paths(self, prefix: str = "", suffix: str = "") -> list[Path]:
        """The files whose name inside the folder begins with ``prefix`` and ends with ``suffix``, in name order."""
        return [self.folder / name for name in sorted(self.files) if name.startswith(prefix) and name.endswith(suffix)]


def write_manifest(
    folder: Path,
    *,
    stage: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, Manifest],
    files: Iterable[Path],
    counts: Mapping[str, Any],
) -> Manifest:
    """Finish a folder: hash its ``files`` and write manifest.json. ``inputs``: role → the input's manifest."""
    listed = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "xxh3_128": file_digest(path)}
        for path in files
    }
    write_json(
        folder / MANIFEST,
        {
            "format": f"palimpsest.{stage}/{VERSION}",
            "params": dict(params),
            "inputs": {role: manifest.digest for role, manifest in inputs.items()},
            "files": listed,
            "counts": dict(counts),
        },
    )
    return read_manifest(folder, stage)


def read_manifest(folder: Path, stage: str) -> Manifest:
    """Open a finished folder of ``stage``; every listed file must exist with its size.

    Raises ArtifactError when the manifest is missing, malformed, of another stage or version, or lists a file that is
    missing or has another size.
    """
    path = folder / MANIFEST
    value = read_json(path)
    expected = f"palimpsest.{stage}/{VERSION}"
    found = value.get("format") if isinstance(value, dict) else None
    if found != expected:
        raise ArtifactError(f"{path}: format is {found!r}, expected {expected!r}; run its stage again")
    for key in ("params", "inputs", "files", "counts"):
        if not isinstance(value.get(key), dict):
            raise ArtifactError(f"{path}: {key}: found {value.get(key)!r}, expected a mapping; run its stage again")
    files = {name: _file_entry(path, name, entry) for name, entry in value["files"].items()}
    for name, entry in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != entry.bytes:
            raise ArtifactError(
                f"{file}: missing, or not the {entry.bytes} bytes in {path}; delete {path} and run again"
            )
    return Manifest(
        folder=folder,
        stage=stage,
        params=value["params"],
        inputs=value["inputs"],
        files=files,
        counts=value["counts"],
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _file_entry(manifest: Path, name: str, entry: Any) -> FileEntry:
    match entry:
        case {"bytes": int(size), "xxh3_128": str(digest), **more} if not more and type(size) is int:
            return FileEntry(bytes=size, xxh3_128=digest)
    raise ArtifactError(f"{manifest}: files.{name}: found {entry!r}, expected bytes and xxh3_128; run its stage again")
