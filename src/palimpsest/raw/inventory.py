"""What lies at a local source: the name, size and hash of every file, so that a changed or added file is seen."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Any

from palimpsest.artifact import atomic_file, file_digest, fingerprint
from palimpsest.errors import DataError

Entry = dict[str, Any]


def fixed_folder(pattern: str) -> Path:
    """The folder of a path or glob down to its first wildcard; file names are told relative to it."""
    parts = Path(pattern).parts
    fixed = [part for place, part in enumerate(parts) if not any(glob.has_magic(p) for p in parts[: place + 1])]
    return Path(*fixed) if len(fixed) < len(parts) else Path(pattern).parent


def list_files(pattern: str, cache: Path) -> list[Entry]:
    """The files that ``pattern`` matches, in name order, as {"name", "bytes", "xxh3_128"}.

    A file is hashed once for each size and modification time; ``cache`` remembers that.
    """
    root = fixed_folder(pattern)
    # A set, since glob tells a file once for each way in which several ** match it.
    files = sorted({path for path in map(Path, glob.iglob(pattern, recursive=True)) if path.is_file()})
    if not files:
        raise DataError(f"{pattern!r} matches no file")
    known = _load(cache)
    entries, found = [], {}
    for file in files:
        stat = file.stat()
        key = f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
        found[key] = known.get(key) or file_digest(file)
        entries.append({"name": file.relative_to(root).as_posix(), "bytes": stat.st_size, "xxh3_128": found[key]})
    if not found.keys() <= known.keys():
        with atomic_file(cache) as out:
            out.write(json.dumps(known | found).encode())
    return entries


def digest_files(pattern: str, cache: Path) -> str:
    """One hash for all that ``list_files`` returns."""
    return fingerprint(list_files(pattern, cache))


def _load(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
