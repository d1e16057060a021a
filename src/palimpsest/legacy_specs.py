"""Specs as the dictionaries that stages took before they were typed; each conversion goes when its stage is typed."""

from __future__ import annotations

import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

from palimpsest import codec
from palimpsest.codec import encode, identity
from palimpsest.settings.replay import ReplayShare
from palimpsest.specs.data import CorpusSpec, PastText
from palimpsest.specs.training import InitSpec, TrainSpec

Spec = dict[str, Any]


def placeless(spec: Spec) -> Spec:
    """A spec without where files lie on this machine; a dataset on the hub is a name and stays."""
    spec = copy.deepcopy(spec)
    spec.get("model", {}).pop("path", None)
    for source in spec.get("sources", []):
        source.pop("path", None)
        if "dataset" in source and Path(source["dataset"]).is_dir():
            del source["dataset"]
    if spec.get("corpus", {}).get("decontamination"):
        del spec["corpus"]["decontamination"]["paths"]
    return spec


def corpus(spec: CorpusSpec) -> Spec:
    shared = {name: getattr(spec, name) for name in ("validation_fraction", "shard_mb", "on_bad_file")}
    return {
        "language": spec.language,
        "sources": [_source(source, "weight", "max_tokens", "licence", "origin") for source in spec.sources],
        "corpus": encode(spec.cleaning) | shared,
        "evaluation": spec.evaluation,
        "revision": spec.revision,
    }


def _source(source: Any, *excluded: str) -> Spec:
    values = {name: value for name, value in encode(source).items() if name not in excluded}
    if folder := values.pop("folder", None):
        values["dataset"] = folder
    return values


def _past(past: PastText) -> Spec:
    replay = past.replay or ReplayShare(rate="0")  # type: ignore[arg-type]
    return {
        "language": past.language,
        "budget": past.sequences,
        "rate": str(replay.rate),
        "accounting": replay.accounting,
    }


def init(spec: InitSpec) -> Spec:
    model = {key: value for key, value in encode(spec.model).items() if key != "kind"}
    return encode(spec) | {"model": model}  # type: ignore[no-any-return]


def train(spec: TrainSpec) -> Spec:
    values: Spec = encode(spec) | {
        "new": [{"language": new.language, "budget": new.sequences} for new in spec.new],
        "past": [_past(past) for past in spec.past],
        "train": identity(spec.train),
    }
    if not spec.replay:
        del values["pool_revision"]
    return values


def typed_train(values: Spec, **options: Any) -> TrainSpec:
    """The typed form of what ``train`` returns; ``options`` are keys of params' train that shape nothing."""

    def past(text: Spec) -> Spec:
        replay = {"rate": text["rate"], "accounting": text["accounting"]} if Decimal(text["rate"]) else None
        return {"language": text["language"], "sequences": text["budget"], "replay": replay}

    new = [{"language": text["language"], "sequences": text["budget"]} for text in values["new"]]
    typed = {"data": {}, "pool_revision": None} | values | {
        "new": new, "past": [past(text) for text in values["past"]], "train": values["train"] | options,
    }  # fmt: skip
    return codec.decode(TrainSpec, typed, "spec")
