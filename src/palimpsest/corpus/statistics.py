"""Statistics of the corpus, the manifest's ``counts``: documents read, dropped by reason and written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from palimpsest.corpus.reading.batch_stream import BadFile


@dataclass(kw_only=True)
class SplitStatistics:
    """Documents written to one split, and the bytes of their text."""

    documents: int = 0
    bytes: int = 0

    def add(self, other: SplitStatistics) -> None:
        self.documents += other.documents
        self.bytes += other.bytes


@dataclass(kw_only=True)
class SourceStatistics:
    """Statistics of one source, or of all together."""

    documents_in: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    train: SplitStatistics = field(default_factory=SplitStatistics)
    validation: SplitStatistics = field(default_factory=SplitStatistics)

    def add(self, other: SourceStatistics) -> None:
        self.documents_in += other.documents_in
        self.dropped.update(other.dropped)
        self.train.add(other.train)
        self.validation.add(other.validation)

    @property
    def kept(self) -> int:
        """Documents that nothing has dropped so far."""
        return self.documents_in - self.dropped.total()


@dataclass(kw_only=True)
class CorpusStatistics:
    """Statistics of a language, source by source."""

    sources: dict[str, SourceStatistics]
    masked: Counter[str] = field(default_factory=Counter)
    bad_files: list[BadFile] = field(default_factory=list)

    @property
    def total(self) -> SourceStatistics:
        total = SourceStatistics()
        for source in self.sources.values():
            total.add(source)
        return total

    def __str__(self) -> str:
        total = self.total
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in total.dropped.most_common())
        files = f"; corrupt files: {len(self.bad_files)}" if self.bad_files else ""
        return f"{total.kept:,} of {total.documents_in:,} documents kept; dropped: {reasons or 'none'}{files}"
