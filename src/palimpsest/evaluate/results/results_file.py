"""Reads a results file that has a ``format``."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from palimpsest.artifact import read_json
from palimpsest.codec import decode
from palimpsest.errors import ArtifactError

T = TypeVar("T")


def read_results_file(cls: type[T], path: Path, remedy: str) -> T:
    """Read ``cls``, whose default ``format`` is the expected one.

    Raises ArtifactError, which names the file and the key and ends with the ``remedy``.
    """
    value = read_json(path)
    expected: str = cls.format  # type: ignore[attr-defined]
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != expected:
        raise ArtifactError(f"{path}: format is {found!r}, expected {expected!r}; {remedy}")
    try:
        return decode(cls, value, str(path))
    except ArtifactError as error:
        raise ArtifactError(f"{error}; {remedy}") from None
