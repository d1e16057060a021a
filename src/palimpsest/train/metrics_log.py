"""metrics.jsonl: a line for each step of a stage, each point of the validation curves and each measured alignment.

Numbers are JSON's, so what is not finite is left out: a line of a ``skipped`` step may lack its losses and its norm.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.artifact import atomic_file

if TYPE_CHECKING:
    # Importing it imports torch, which readers of metrics.jsonl do not need.
    from palimpsest.train.loggers import Loggers


class MetricsLog:
    """Appends lines that each hold a ``step``; opening at a step drops the later ones that a killed run left.

    ``loggers`` get each line too.
    """

    def __init__(self, path: Path, step: int, loggers: Loggers) -> None:
        kept = [line for line in read(path) if line["step"] <= step] if step else []
        with atomic_file(path) as file:
            file.writelines((json.dumps(line) + "\n").encode() for line in kept)
        self._file, self._loggers = path.open("ab"), loggers

    def write(self, **line: Any) -> None:
        finite = _finite(line)
        self._file.write((json.dumps(finite) + "\n").encode())
        self._loggers.write(finite)

    def sync(self) -> None:
        """Make the lines so far durable; called before the checkpoint that they belong to."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._loggers.sync()

    def close(self) -> None:
        self.sync()
        self._file.close()
        self._loggers.close()


def _finite(line: dict[str, Any]) -> dict[str, Any]:
    """What JSON has numbers for, in dictionaries too."""
    return {
        key: _finite(value) if isinstance(value, dict) else value
        for key, value in line.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


class SilentLog:
    """The log of a process that is not the first: the first one's says it all."""

    def write(self, **line: Any) -> None:
        pass

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl; a last line that was cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
