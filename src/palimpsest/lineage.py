"""Lineages: a checkpoint's path is its history.

``runs/tiny-s0.1f2e…/en.77ab…/fr+r25+mer.3fa9…`` is the model after English and then French with 25 % replay and MER.
The folder above is the parent checkpoint, so arms and rates that share a past share its compute. Each segment ends in
a fingerprint of every param, input and revision that shaped it: another ε is another folder, and the old one is found
again when the edit is taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from palimpsest.artifact import fingerprint
from palimpsest.params import Params
from palimpsest.params.training import SHAPES_NOTHING
from palimpsest.recipe import REVISIONS, Inventories, data_fingerprints, placeless

_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """One checkpoint. ``stage`` names its row of the loss matrix: "init", a language, or "joint"."""

    path: str
    stage: str
    arm: str
    seed: int
    spec: dict[str, Any]
    parent: Lineage | None

    @property
    def replays(self) -> bool:
        return bool(self.spec.get("replay"))

    @property
    def past(self) -> list[str]:
        """The languages that this stage may replay."""
        return [past["language"] for past in self.spec["past"]] if self.replays else []

    def pool_spec(self) -> dict[str, Any]:
        """What the replay stage needs to know: who trained on how much before, and how much is drawn now."""
        train, replay = self.spec["train"], self.spec["replay"]
        return {
            "stage": self.spec["stage"],
            "seed": self.seed,
            "context_length": train["context_length"],
            "batch_size": train["batch_size"],
            "language": self.spec["new"][0]["language"],
            "budget": self.spec["new"][0]["budget"],
            "past": self.spec["past"],
            "revision": REVISIONS["replay"],
            **replay,
        }

    def __iter__(self) -> Iterator[Lineage]:
        """From the initial model to this checkpoint."""
        if self.parent:
            yield from self.parent
        yield self


def lineages(params: Params, inventories: Inventories) -> dict[str, dict[int, Lineage]]:
    """The last checkpoint of every arm and seed that the params ask for."""
    data = data_fingerprints(params, inventories)
    return {arm: {seed: _lineage(params, arm, seed, data) for seed in params.seeds} for arm in params.arms}


def _lineage(params: Params, arm: str, seed: int, data: dict[str, str]) -> Lineage:
    lineage = _root(params, arm, seed, data)
    if arm == "joint":
        return _stage(params, lineage, list(params.languages), data)
    for language in params.languages:
        lineage = _stage(params, lineage, [language], data)
    return lineage


def _root(params: Params, arm: str, seed: int, data: dict[str, str]) -> Lineage:
    """The untrained model. It depends on the data through the tokenizer's vocabulary."""
    spec = {
        "model": params.model.shape | {"tie_embeddings": params.model.tie_embeddings},
        "context_length": params.train.context_length,
        "seed": seed,
        "data": fingerprint(data),
        "revision": REVISIONS["train"],
    }
    path = f"{params.model.label}-s{seed}.{fingerprint(placeless(spec))[:_DIGITS]}"
    return Lineage(path=path, stage="init", arm=arm, seed=seed, spec=spec, parent=None)


def _stage(params: Params, parent: Lineage, languages: list[str], data: dict[str, str]) -> Lineage:
    joint, number = len(languages) > 1 or parent.arm == "joint", len(list(parent))
    replay, mer = (None, None) if joint or number == 1 else _method(params, parent.arm, languages[0])
    budget = params.train.steps * params.train.batch_size
    past = parent.spec.get("past", []) + [
        new
        | {
            "rate": (parent.spec["replay"] or {}).get("rate", "0"),
            "accounting": (parent.spec["replay"] or {}).get("accounting", "add"),
        }
        for new in parent.spec.get("new", [])
    ]
    spec = {
        "stage": number,
        "stages": 1 if joint else len(params.languages),
        "new": [{"language": language, "budget": budget} for language in languages],
        "past": past,
        "languages": params.languages,
        "replay": replay,
        "mer": mer,
        "seed": parent.seed,
        "train": params.train.model_dump(mode="json", exclude=SHAPES_NOTHING),
        "data": data,
        "revision": REVISIONS["train"],
        **({"pool_revision": REVISIONS["replay"]} if replay else {}),
    }
    segment = "joint" if joint else languages[0] + _label(replay, mer)
    path = f"{parent.path}/{segment}.{fingerprint([parent.path, spec])[:_DIGITS]}"
    stage = "joint" if joint else languages[0]
    return Lineage(path=path, stage=stage, arm=parent.arm, seed=parent.seed, spec=spec, parent=parent)


def _method(params: Params, arm: str, language: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    rate = params.replay.rates.get(language, params.replay.rate)
    replays = arm in ("replay", "mer") and rate > 0
    interpolates = arm in ("reptile", "mer")
    return (
        params.replay.model_dump(mode="json", exclude={"rates"}) | {"rate": str(rate)} if replays else None,
        params.mer.model_dump(mode="json") if interpolates else None,
    )


def _label(replay: dict[str, Any] | None, mer: dict[str, Any] | None) -> str:
    rate = f"+r{(Decimal(replay['rate']) * 100).normalize():f}" if replay else ""
    return rate + (("+mer" if replay else "+reptile") if mer else "")
