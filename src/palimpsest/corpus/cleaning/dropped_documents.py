"""The sample of dropped documents that dropped.jsonl.zst shows for each reason."""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

from palimpsest.corpus.reading.records import EXCERPT_BYTES

SAMPLE_SIZE = 200
EXCERPT_CHARACTERS = EXCERPT_BYTES // 4


@dataclass(frozen=True, kw_only=True)
class DroppedDocument:
    """A line of dropped.jsonl.zst; ``text`` is the beginning of the document or of the record."""

    id: str
    source: str
    reason: str
    text: str

    @classmethod
    def of(cls, id: str, source: str, reason: str, text: str) -> DroppedDocument:
        return cls(id=id, source=source, reason=reason, text=text[:EXCERPT_CHARACTERS])

    @property
    def rank(self) -> int:
        """A hash of source, id and text: pseudo-random, and equal on every machine."""
        return int(xxhash.xxh3_64_intdigest("\0".join((self.source, self.id, self.text)).encode()))


class DroppedSample:
    """Of the dropped documents of each reason the SAMPLE_SIZE of lowest rank.

    Every document has the same chance, whatever its file, and the choice depends on the documents alone. Memory:
    2 · SAMPLE_SIZE documents a reason.
    """

    def __init__(self) -> None:
        self._by_reason: dict[str, dict[int, DroppedDocument]] = {}

    def add(self, document: DroppedDocument) -> None:
        by_rank = self._by_reason.setdefault(document.reason, {})
        by_rank[document.rank] = document
        if len(by_rank) >= 2 * SAMPLE_SIZE:
            self._by_reason[document.reason] = _lowest(by_rank)

    def __contains__(self, document: DroppedDocument) -> bool:
        return document.rank in _lowest(self._by_reason.get(document.reason, {}))

    def documents(self) -> list[DroppedDocument]:
        """By reason, source and id."""
        found = [document for by_rank in self._by_reason.values() for document in _lowest(by_rank).values()]
        return sorted(found, key=lambda document: (document.reason, document.source, document.id, document.text))


def _lowest(by_rank: dict[int, DroppedDocument]) -> dict[int, DroppedDocument]:
    return dict(sorted(by_rank.items())[:SAMPLE_SIZE])
