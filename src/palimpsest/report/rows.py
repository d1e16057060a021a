"""The CSV files that the evaluation leaves for plots, row by row."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from palimpsest.errors import ArtifactError

_Row = TypeVar("_Row")


def read(path: Path, make: Callable[[dict[str, str]], _Row], expected: str) -> list[_Row]:
    """What ``make`` makes of each row. Raises ArtifactError naming file and line where it cannot.

    ``expected``: the columns that it needs, in words.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            return [_made(row, make, f"{path}:{table.line_num}", expected) for row in table]
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the evaluation, which writes it") from None


def _made(row: dict[str, str], make: Callable[[dict[str, str]], _Row], place: str, expected: str) -> _Row:
    try:
        return make(row)
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(f"{place}: expected {expected}, found {row}; evaluate again") from None
