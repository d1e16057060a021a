"""The files of a local source with size and hash, so that a changed or added file is detected."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from pathlib import Path

from palimpsest import codec
from palimpsest.artifact import atomic_file, file_digest, fingerprint
from palimpsest.errors import DataError


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file: its name relative to the fixed folder of the source's glob, its size and its hash."""

    name: str
    bytes: int
    xxh3_128: str


def fixed_folder(pattern: str) -> Path:
    """The folder of a path or glob down to its first wildcard; file names are relative to it."""
    parts = Path(pattern).parts
    fixed = [part for index, part in enumerate(parts) if not any(glob.has_magic(p) for p in parts[: index + 1])]
    return Path(*fixed) if len(fixed) < len(parts) else Path(pattern).parent


def list_files(pattern: str, cache: Path) -> list[LocalFile]:
    """The files that ``pattern`` matches, in name order.

    A file is hashed once per size and modification time; ``cache`` has the hashes. Raises DataError if nothing matches.
    """
    root = fixed_folder(pattern)
    # A set, since glob yields a file once for each way in which several ** match it.
    files = sorted({path for path in map(Path, glob.iglob(pattern, recursive=True)) if path.is_file()})
    if not files:
        raise DataError(f"{pattern!r} matches no file")
    known = _read_cache(cache)
    found, hashes = [], {}
    for file in files:
        stat = file.stat()
        key = f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
        hashes[key] = known.get(key) or file_digest(file)
        name = file.relative_to(root).as_posix()
        found.append(LocalFile(name=name, bytes=stat.st_size, xxh3_128=hashes[key]))
    if not hashes.keys() <= known.keys():
        with atomic_file(cache) as out:
            out.write(json.dumps(known | hashes).encode())
    return found


def digest_files(pattern: str, cache: Path) -> str:
    """One hash of the names, sizes and contents of the files that ``pattern`` matches."""
    return fingerprint(codec.encode(list_files(pattern, cache)))


def _read_cache(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
