"""The replay pool: what a stage may replay, as a plan over token shards that stay where they are.

A sequence's place in the pool is computed by a keyed bijection, so that a pool costs as much for 10^8 sequences as
for ten, and each past sequence is drawn once before any is drawn again. Drawing from ``past`` is what an infinite
reservoir gives: every sequence that earlier stages trained on is equally likely.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.artifact import Manifest, read_json, read_manifest, write_json, write_manifest
from palimpsest.errors import ArtifactError, DataError
from palimpsest.replay.permutation import Permutation, derive_key
from palimpsest.replay.schedule import schedule
from palimpsest.tokens.sequences import Sequences

logger = logging.getLogger(__name__)
Draw = tuple[np.ndarray, np.ndarray]


class Order:
    """The order in which a language is trained on; index i ≥ ``sequences`` begins another epoch, shuffled anew."""

    def __init__(self, language: str, sequences: int, seed: int) -> None:
        if sequences < 1:
            raise DataError(
                f"{language}: its training text holds no sequence of train.context_length tokens; "
                "give it more text or lower train.context_length"
            )
        self.language, self.sequences, self._seed = language, sequences, seed
        self._epochs: dict[int, Permutation] = {}

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Sequence numbers (int64 [m]) at the places ``index`` (int64 [m], ≥ 0) of the order."""
        result = np.empty_like(index)
        epochs, places = np.divmod(index, self.sequences)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            result[chosen] = self._permutation(int(epoch))(places[chosen])
        return result

    def _permutation(self, epoch: int) -> Permutation:
        if epoch not in self._epochs:
            self._epochs[epoch] = Permutation(self.sequences, derive_key(self._seed, "order", self.language, epoch))
        return self._epochs[epoch]


@dataclass(frozen=True)
class Part:
    """The first ``used`` sequences of a language's order."""

    order: Order
    used: int


class Mixture:
    """Parts mixed so that all their sequences are equally likely: a ``past`` pool, or the data of joint training."""

    def __init__(self, parts: list[Part], key: int) -> None:
        self.parts, self._key = parts, key
        self._starts = np.cumsum([0] + [part.used for part in parts])
        self._mixed = Order("", int(self._starts[-1]), key)

    def draw(self, ordinals: np.ndarray) -> Draw:
        """Draws number ``ordinals`` → (index of the part, sequence number in its language); all int64 [m]."""
        places = self._mixed(ordinals)
        which = np.searchsorted(self._starts, places, side="right") - 1
        return which, _within(self.parts, which, places - self._starts[which])


class Balanced:
    """Every part equally often, whatever its size; within a part as in ``Mixture``."""

    def __init__(self, parts: list[Part], key: int) -> None:
        self.parts = parts
        self._mixed = [Order(part.order.language, part.used, key) for part in parts]

    def draw(self, ordinals: np.ndarray) -> Draw:
        """As ``Mixture.draw``; draws r, r + 1, … go round the parts in turn."""
        turns, which = np.divmod(ordinals, len(self.parts))
        places = np.empty_like(turns)
        for index, mixed in enumerate(self._mixed):
            chosen = which == index
            places[chosen] = mixed(turns[chosen])
        return which, _within(self.parts, which, places)


def _within(parts: list[Part], which: np.ndarray, places: np.ndarray) -> np.ndarray:
    sequences = np.empty_like(places)
    for index, part in enumerate(parts):
        chosen = which == index
        sequences[chosen] = part.order(places[chosen])
    return sequences


SCOPES: dict[str, type[Mixture] | type[Balanced]] = {"past": Mixture, "balanced": Balanced}


def build(spec: dict[str, Any], tokens: dict[str, Path], out: Path) -> Manifest:
    """Write data/replay/{lineage}: what the stage of ``spec`` may replay, from past languages' token folders."""
    context, inputs, sources = spec["context_length"], {}, []
    for past in spec["past"]:
        language = past["language"]
        inputs[f"tokens/{language}"] = read_manifest(tokens[language], "tokens")
        sequences = len(Sequences(tokens[language], "train", context))
        trained = schedule(past["budget"], spec["batch_size"], past["rate"], past["accounting"]).new
        Order(language, sequences, spec["seed"])  # refuses a language without any
        sources.append({"language": language, "sequences": sequences, "used": min(trained, sequences)})
    own = schedule(spec["budget"], spec["batch_size"], spec["rate"], spec["accounting"])
    size = sum(source["used"] for source in sources)
    pool = {"scope": spec["scope"], "seed": spec["seed"], "stage": spec["stage"], "sources": sources}
    write_json(out / "pool.json", pool)
    counts = {"sequences": size, "draws": own.replayed, "epochs": round(own.replayed / size, 4)}
    logger.info("pool of %d sequences from %s; %d draws", size, ", ".join(s["language"] for s in sources), own.replayed)
    return write_manifest(out, stage="replay", params=spec, inputs=inputs, files=[out / "pool.json"], counts=counts)


def load(folder: Path, tokens: dict[str, Sequences]) -> Mixture | Balanced:
    """Open a pool; ``tokens`` holds the training sequences by language, which must be as many as when it was built."""
    pool = read_json(folder / "pool.json")
    parts = []
    for source in pool["sources"]:
        found = len(tokens[source["language"]])
        if found != source["sequences"]:
            raise ArtifactError(
                f"{folder / 'pool.json'}: made for {source['sequences']} sequences of {source['language']}, found "
                f"{found}; delete the folder and run again"
            )
        parts.append(Part(Order(source["language"], found, pool["seed"]), source["used"]))
    return SCOPES[pool["scope"]](parts, derive_key(pool["seed"], "pool", pool["stage"]))
