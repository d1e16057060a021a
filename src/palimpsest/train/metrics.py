"""metrics.jsonl: the losses of a stage, a line for each step and each point of the validation curves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from palimpsest.artifact import atomic_file


class MetricsLog:
    """Appends lines that each hold a ``step``; opening at a step drops the later ones that a killed run left."""

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read(path) if line["step"] <= step] if step else []
        with atomic_file(path) as file:
            file.writelines((json.dumps(line) + "\n").encode() for line in kept)
        self._file = path.open("ab")

    def write(self, **line: Any) -> None:
        self._file.write((json.dumps(line) + "\n").encode())

    def sync(self) -> None:
        """Make the lines so far durable; called before the checkpoint that they belong to."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl; a last line that was cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
