"""Writing metrics.jsonl: appends records, and sends each to the loggers too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

from palimpsest.artifact import atomic_file
from palimpsest.train.loggers import Loggers
from palimpsest.train.metrics import MetricsRecord, encode_record, read_metrics


class MetricsWriter(Protocol):
    """Where the records of a run go."""

    def write(self, record: MetricsRecord) -> None:
        """Add a record."""

    def sync(self) -> None:
        """Make the records so far durable; called before the checkpoint that they belong to."""

    def close(self) -> None:
        """Make all records durable and finish."""


class MetricsLog:
    """The metrics.jsonl at ``path``; opening it at a step drops the later records that a killed run left."""

    def __init__(self, path: Path, step: int, loggers: Loggers) -> None:
        retained = [record for record in read_metrics(path) if record.step <= step] if step else []
        with atomic_file(path) as file:
            file.writelines(_line(record) for record in retained)
        self._file, self._loggers = path.open("ab"), loggers

    def write(self, record: MetricsRecord) -> None:
        """Add a record, to the loggers too."""
        self._file.write(_line(record))
        self._loggers.write(record)

    def sync(self) -> None:
        """Make the records so far durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._loggers.sync()

    def close(self) -> None:
        """Make all records durable; finish the loggers."""
        self.sync()
        self._file.close()
        self._loggers.close()


class NoMetricsLog:
    """The log of a process other than the first, which writes for all."""

    def write(self, record: MetricsRecord) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _line(record: MetricsRecord) -> bytes:
    return (json.dumps(encode_record(record)) + "\n").encode()
