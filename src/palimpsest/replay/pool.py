"""The replay pool: what a stage may replay, as a plan over token shards that stay where they are.

A sequence's place in the pool is computed by a keyed bijection, so that a pool costs as much for 10^8 sequences as
for ten, and each past sequence is drawn once before any is drawn again. Drawing from ``past`` is what an infinite
reservoir gives: every sequence that earlier stages trained on is equally likely. ``capacity`` is a bounded one, the
only scope that writes down which sequences it holds. ``seen`` adds those of the stage itself, as they come.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.artifact import Manifest, atomic_file, read_json, read_manifest, write_json, write_manifest
from palimpsest.errors import ArtifactError, DataError
from palimpsest.replay.permutation import Permutation, derive_key, keyed_hash
from palimpsest.replay.reservoir import members
from palimpsest.replay.schedule import Schedule, schedule
from palimpsest.tokens.sequences import Sequences

logger = logging.getLogger(__name__)
Draw = tuple[np.ndarray, np.ndarray]
RESERVOIR = "reservoir.npy"


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
        places = self._places(ordinals)
        which = np.searchsorted(self._starts, places, side="right") - 1
        return which, _within(self.parts, which, places - self._starts[which])

    def _places(self, ordinals: np.ndarray) -> np.ndarray:
        return self._mixed(ordinals)


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


class Reservoir(Mixture):
    """As ``Mixture``, of those sequences only that a reservoir holds, by their numbers among all of the parts."""

    def __init__(self, parts: list[Part], key: int, held: np.ndarray) -> None:
        super().__init__(parts, key)
        self._held, self._mixed = held, Order("", len(held), key)

    def _places(self, ordinals: np.ndarray) -> np.ndarray:
        return np.asarray(self._held[self._mixed(ordinals)])


class Seen(Mixture):
    """The parts, and what the stage itself trained on before the batch of a draw, all equally likely.

    The pool grows from batch to batch, so that each draw is made anew, and may repeat an earlier one.
    """

    def __init__(self, parts: list[Part], key: int, own: Mixture, row: Schedule) -> None:
        super().__init__(parts, key)
        self.parts, self._past, self._own, self._row, self._hash = [*parts, *own.parts], parts, own, row, key

    def draw(self, ordinals: np.ndarray) -> Draw:
        """As ``Mixture.draw``; the last part is the stage's own."""
        past = int(self._starts[-1])
        chosen = keyed_hash(ordinals, self._hash) % (past + self._row.new_before(ordinals)).astype(np.uint64)
        places = chosen.astype(np.int64)
        which = np.searchsorted(self._starts, places, side="right") - 1
        own = places >= past
        which[own] = len(self._past)
        sequences = np.empty_like(places)
        sequences[~own] = _within(self._past, which[~own], (places - self._starts[which])[~own])
        sequences[own] = self._own.draw(places[own] - past)[1]
        return which, sequences


def new_sequences(parts: list[Part], seed: int, stage: int) -> Mixture:
    """What a stage trains on as new, in the order of ordinals."""
    return Mixture(parts, derive_key(seed, "new", stage))


def build(spec: dict[str, Any], tokens: dict[str, Path], out: Path) -> Manifest:
    """Write data/replay/{lineage}: what the stage of ``spec`` may replay, from past languages' token folders."""
    inputs = {f"tokens/{past['language']}": read_manifest(tokens[past["language"]], "tokens") for past in spec["past"]}
    sources = [_source(past, tokens, spec) for past in spec["past"]]
    own = schedule(spec["budget"], spec["batch_size"], spec["rate"], spec["accounting"])
    size = sum(source["used"] for source in sources)
    pool = {"scope": spec["scope"], "seed": spec["seed"], "stage": spec["stage"], "sources": sources}
    files = [out / "pool.json"]
    if spec["scope"] == "capacity":
        held = members(size, spec["capacity"], derive_key(spec["seed"], "reservoir"))
        size = len(held)
        with atomic_file(out / RESERVOIR) as file:
            np.save(file, held, allow_pickle=False)
        files.append(out / RESERVOIR)
    elif spec["scope"] == "seen":
        pool["own"] = {key: spec[key] for key in ("language", "budget", "batch_size", "rate", "accounting")}
        size += own.new
    write_json(out / "pool.json", pool)
    counts = {"sequences": size, "draws": own.replayed, "epochs": round(own.replayed / size, 4)}
    logger.info("pool of %d sequences from %s; %d draws", size, ", ".join(s["language"] for s in sources), own.replayed)
    return write_manifest(out, stage="replay", params=spec, inputs=inputs, files=files, counts=counts)


def _source(past: dict[str, Any], tokens: dict[str, Path], spec: dict[str, Any]) -> dict[str, Any]:
    language = past["language"]
    sequences = len(Sequences(tokens[language], "train", spec["context_length"]))
    trained = schedule(past["budget"], spec["batch_size"], past["rate"], past["accounting"]).new
    Order(language, sequences, spec["seed"])  # refuses a language without any
    return {"language": language, "sequences": sequences, "used": min(trained, sequences)}


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
    key = derive_key(pool["seed"], "pool", pool["stage"])
    match pool["scope"]:
        case "balanced":
            return Balanced(parts, key)
        case "capacity":
            return Reservoir(parts, key, np.load(folder / RESERVOIR, allow_pickle=False))
        case "seen":
            row = schedule(*(pool["own"][name] for name in ("budget", "batch_size", "rate", "accounting")))
            language = pool["own"]["language"]
            own = Part(Order(language, len(tokens[language]), pool["seed"]), row.new)
            return Seen(parts, key, new_sequences([own], pool["seed"], pool["stage"]), row)
    return Mixture(parts, key)
