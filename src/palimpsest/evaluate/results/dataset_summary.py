"""Counts of the text of a language, from its sources to tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """Size of the training or the validation split, after downsampling."""

    documents: int
    bytes: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class SourceSummary:
    """One source: documents read and used for training, and its tokens and share of the language after downsampling."""

    kind: str
    licence: str | None
    documents_in: int
    documents: int
    tokens: int
    share: float


@dataclass(frozen=True, kw_only=True)
class BadFile:
    """A file that could not be read and was skipped."""

    source: str
    name: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class LanguageSummary:
    """One language. ``dropped``: reason → documents; ``masked``: kind of personal data → occurrences."""

    sources: Mapping[str, SourceSummary]
    documents_in: int
    dropped: Mapping[str, int]
    masked: Mapping[str, int]
    bad_files: tuple[BadFile, ...]
    train: SplitCounts
    validation: SplitCounts
    tokens_per_byte: float
    tokens_per_word: float

    @property
    def documents_dropped(self) -> int:
        return sum(self.dropped.values())
