"""Specs of the data stages: raw, corpus, tokenizer, tokens, replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from palimpsest.settings.cleaning import Cleaning
from palimpsest.settings.model import Tokenizer
from palimpsest.settings.replay import ReplayShare, ReplaySpec
from palimpsest.settings.sources import Sources


@dataclass(frozen=True, kw_only=True)
class RawSpec:
    """The documents of one language, before cleaning.

    ``sources`` are without their mixture (weight, max_tokens). ``inventory``: source name → hash of the names, sizes
    and contents of its local files, so that a changed file is a changed spec.
    """

    language: str
    sources: Sources
    inventory: Mapping[str, str]
    revision: int = 2


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """One language, cleaned and deduplicated.

    ``sources`` are without mixture, licence and origin. ``evaluation``: hash of the evaluation sets that
    ``cleaning.decontamination`` reads, None where it is off.
    """

    language: str
    sources: Sources
    cleaning: Cleaning
    validation_fraction: float
    shard_mb: int
    on_bad_file: Literal["error", "skip"]
    evaluation: str | None
    revision: int = 2


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """One tokenizer for all ``languages`` (sorted). ``content``: hash of the file at ``tokenizer.path``."""

    languages: tuple[str, ...]
    tokenizer: Tokenizer
    content: str | None
    revision: int = 2


@dataclass(frozen=True, kw_only=True)
class MixtureShare:
    """How much of a source goes into the language's token shards."""

    weight: float | None
    max_tokens: int | None


@dataclass(frozen=True, kw_only=True)
class TokensSpec:
    """One language as token shards. ``sources``: source name → its share of the training tokens."""

    language: str
    sources: Mapping[str, MixtureShare]
    revision: int = 2


@dataclass(frozen=True, kw_only=True)
class NewText:
    """What a stage draws of one language, in sequences: the budget before replay (see replay.schedule)."""

    language: str
    sequences: int


@dataclass(frozen=True, kw_only=True)
class PastText(NewText):
    """What an earlier stage drew, with the replay of that stage, which may have taken part of the budget."""

    replay: ReplayShare | None


@dataclass(frozen=True, kw_only=True)
class PoolSpec:
    """The sequences that stage number ``stage`` (from 1) of a lineage may replay."""

    stage: int
    seed: int
    context_length: int
    batch_size: int
    new: NewText
    past: tuple[PastText, ...]
    replay: ReplaySpec
    revision: int = 2
