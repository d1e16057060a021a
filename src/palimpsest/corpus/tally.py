"""What became of the documents: how many went for each reason, and a sample of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import xxhash

from palimpsest.corpus.records import SHOWN_BYTES

SAMPLES = 200
SAMPLE_CHARACTERS = SHOWN_BYTES // 4
Entry = dict[str, str]


def dropped_entry(name: str, source: str, reason: str, text: str) -> Entry:
    """An entry of dropped.jsonl.zst."""
    return {"id": name, "source": source, "reason": reason, "text": text[:SAMPLE_CHARACTERS]}


class Samples:
    """Of the dropped documents of each reason the SAMPLES whose hash is least.

    So every document has its chance, whatever its file, and the choice depends on nothing but the documents. Memory:
    2 · SAMPLES entries a reason.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, dict[int, Entry]] = {}

    def offer(self, entry: Entry) -> None:
        shown = self._reasons.setdefault(entry["reason"], {})
        shown[_rank(entry)] = entry
        if len(shown) >= 2 * SAMPLES:
            self._reasons[entry["reason"]] = _least(shown)

    def holds(self, entry: Entry) -> bool:
        """Whether the entry is among those that would be shown now."""
        return _rank(entry) in _least(self._reasons.get(entry["reason"], {}))

    def shown(self) -> list[Entry]:
        """By reason, source and id."""
        entries = [entry for reason in self._reasons.values() for entry in _least(reason).values()]
        return sorted(entries, key=lambda entry: (entry["reason"], entry["source"], entry["id"], entry["text"]))


def _rank(entry: Entry) -> int:
    return int(xxhash.xxh3_64_intdigest("\0".join((entry["source"], entry["id"], entry["text"])).encode()))


def _least(shown: dict[int, Entry]) -> dict[int, Entry]:
    return dict(sorted(shown.items())[:SAMPLES])


@dataclass(kw_only=True)
class Counts:
    """Of one source: documents read, dropped by reason, and written to each split with their bytes of text."""

    documents_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    train: Counter[str] = field(default_factory=lambda: Counter(documents=0, bytes=0))
    validation: Counter[str] = field(default_factory=lambda: Counter(documents=0, bytes=0))

    def plain(self) -> dict[str, Any]:
        """As the manifest has them."""
        return {
            "documents_in": self.documents_in,
            "dropped": dict(self.dropped),
            "train": dict(self.train),
            "validation": dict(self.validation),
        }


class Tally:
    """The counts of all sources."""

    def __init__(self, sources: list[str]) -> None:
        self.sources = {name: Counts() for name in sources}
        self.masked: Counter[str] = Counter()
        self.bad_files: list[dict[str, str]] = []
        self.samples = Samples()

    def add(self, record: Mapping[str, Any]) -> None:
        """Add what a unit's record says (units.py)."""
        counts = self.sources[record["source"]]
        counts.documents_in += record["documents"]
        counts.dropped.update(record["dropped"])
        self.masked.update(record["masked"])
        self.bad_files += record["bad_files"]
        for entry in record["samples"]:
            self.samples.offer(entry)

    @property
    def total(self) -> Counts:
        """Of all sources together."""
        total = Counts()
        for counts in self.sources.values():
            total.documents_in += counts.documents_in
            for mine, theirs in (
                (total.dropped, counts.dropped), (total.train, counts.train), (total.validation, counts.validation)
            ):  # fmt: skip
                mine.update(theirs)
        return total

    @property
    def kept(self) -> int:
        """Documents that nothing has dropped so far."""
        return self.total.documents_in - self.total.dropped.total()

    def plain(self) -> dict[str, Any]:
        """As the manifest has it."""
        return self.total.plain() | {
            "masked": dict(self.masked),
            "bad_files": self.bad_files,
            "sources": {name: counts.plain() for name, counts in self.sources.items()},
        }

    def __str__(self) -> str:
        total = self.total
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in total.dropped.most_common())
        files = f"; damaged files: {len(self.bad_files)}" if self.bad_files else ""
        return f"{self.kept:,} of {total.documents_in:,} documents kept; dropped: {reasons or 'none'}{files}"
