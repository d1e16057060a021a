"""Specs as the dictionaries that stages took before they were typed; each conversion goes when its stage is typed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from palimpsest import codec
from palimpsest.codec import encode, identity
from palimpsest.settings.replay import ReplayShare
from palimpsest.specs.data import PastText
from palimpsest.specs.training import InitSpec, TrainSpec

Spec = dict[str, Any]


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
