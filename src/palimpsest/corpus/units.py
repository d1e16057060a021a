"""The first pass, cut into units that survive a killed run.

A unit is a folder of consecutive batches of one source: kept documents (``lines.jsonl.zst``), their keys (dedup.py),
and ``unit.json``, written last, with its counts and where reading goes on. A unit without it does not exist.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from palimpsest.artifact import read_json, sync, write_json
from palimpsest.corpus.clean import Cleaned
from palimpsest.corpus.dedup import KeyWriter
from palimpsest.corpus.pool import Result
from palimpsest.corpus.stream import Position, Task
from palimpsest.corpus.tally import Samples, Tally

# Unpacked input in a unit: a killed run loses at most the cleaning of so much.
UNIT_BYTES = 256 << 20
LINES = "lines.jsonl.zst"
_RECORD = "unit.json"


class Units:
    """The units in ``folder``, in order: those that an earlier run finished, and then those added here."""

    def __init__(self, folder: Path, columns: int, tally: Tally) -> None:
        self._folder, self._columns, self._tally = folder, columns, tally
        self.folders: list[Path] = []
        self.sources: list[str] = []
        self.next = Position()
        folder.mkdir(exist_ok=True)
        while (self._following / _RECORD).is_file():
            self._take(read_json(self._following / _RECORD))
        for stale in set(folder.iterdir()) - set(self.folders):
            shutil.rmtree(stale)

    @property
    def _following(self) -> Path:
        return self._folder / f"{len(self.folders):06d}"

    def _take(self, record: dict[str, Any]) -> None:
        self.folders.append(self._following)
        self.sources.append(record["source"])
        self.next = Position(*record["next"])
        self._tally.add(record)

    def extend(self, cleaned: Iterator[Result]) -> Iterator[Result]:
        """Write all that was cleaned, and pass it on."""
        unit: _Writer | None = None
        for task, result in cleaned:
            if unit is not None and (unit.source != task.source or unit.bytes >= UNIT_BYTES):
                self._take(unit.close(self._tally))
                unit = None
            unit = unit or _Writer(self._following, task.source, self._columns)
            unit.add(task, result)
            yield task, result
        if unit is not None:
            self._take(unit.close(self._tally))


class _Writer:
    """The unit that is being written."""

    def __init__(self, folder: Path, source: str, columns: int) -> None:
        folder.mkdir()
        self._folder, self.source, self.bytes = folder, source, 0
        self._stack = ExitStack()
        self._lines = self._stack.enter_context((folder / LINES).open("wb"))
        self._keys = self._stack.enter_context(KeyWriter(folder, columns))
        self._next = Position()
        self._documents = 0
        self._dropped: Counter[str] = Counter()
        self._masked: Counter[str] = Counter()
        self._bad_files: list[dict[str, str]] = []
        self._samples = Samples()

    def add(self, task: Task, result: Cleaned | None) -> None:
        self._next = task.next
        if task.problem:
            self._bad_files.append(task.problem)
        if task.batch is None or result is None:
            return
        self.bytes += task.batch.size
        self._lines.write(result.lines)
        self._keys.append(result.keys)
        self._documents += result.documents
        self._dropped.update(result.dropped)
        self._masked.update(result.masked)
        for entry in result.samples:
            self._samples.offer(entry)

    def close(self, tally: Tally) -> dict[str, Any]:
        """Finish the unit; its record, with only the samples that ``tally`` would show too."""
        self._stack.close()
        for path in self._folder.iterdir():
            sync(path)
        sync(self._folder)
        samples = self._samples.shown()
        for entry in samples:
            tally.samples.offer(entry)
        record = {
            "source": self.source,
            "next": list(self._next),
            "documents": self._documents,
            "dropped": dict(self._dropped),
            "masked": dict(self._masked),
            "bad_files": self._bad_files,
            "samples": [entry for entry in samples if tally.samples.holds(entry)],
        }
        write_json(self._folder / _RECORD, record)
        return record
