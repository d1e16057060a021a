"""Specs of a lineage's checkpoints: the initial model, and the stages that are trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from palimpsest.codec import excluded_from_fingerprint
from palimpsest.settings.replay import Mer, ReplaySpec
from palimpsest.settings.training import Train
from palimpsest.specs.data import NewText, PastText

TRAIN_REVISION = 4


@dataclass(frozen=True, kw_only=True)
class RandomModel:
    """A Llama with random weights."""

    kind: Literal["random"] = "random"
    layers: int
    width: int
    heads: int
    ffn: int
    tie_embeddings: bool


@dataclass(frozen=True, kw_only=True)
class FolderModel:
    """A pretrained causal LM in a folder. ``content``: hash of its weights, config and tokenizer."""

    kind: Literal["folder"] = "folder"
    path: str = excluded_from_fingerprint()
    content: str


@dataclass(frozen=True, kw_only=True)
class HubModel:
    """A pretrained causal LM on the Hugging Face hub at a commit."""

    kind: Literal["hub"] = "hub"
    hub: str
    revision: str


ModelSpec = RandomModel | FolderModel | HubModel


@dataclass(frozen=True, kw_only=True)
class InitSpec:
    """The model before any training here. It depends on the data through the tokenizer's vocabulary."""

    model: ModelSpec
    context_length: int
    seed: int
    data_fingerprint: str
    revision: int = TRAIN_REVISION


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """One stage of training: ``stage`` (from 1) of ``stages``.

    ``new``: one language, or all of them where they are trained on jointly. ``past``: what earlier stages drew, in
    order. ``languages``: those that the validation curves show. ``mer``: the Reptile windows, of MER and of Reptile
    without replay. ``data_fingerprints``: language → fingerprint of all that shapes its token shards.
    """

    stage: int
    stages: int
    new: tuple[NewText, ...]
    past: tuple[PastText, ...]
    languages: tuple[str, ...]
    replay: ReplaySpec | None
    mer: Mer | None
    seed: int
    train: Train
    data_fingerprints: Mapping[str, str]
    pool_revision: int | None
    revision: int = TRAIN_REVISION

    @property
    def budget(self) -> int:
        """Sequences that the stage draws, before replay."""
        return sum(new.sequences for new in self.new)
