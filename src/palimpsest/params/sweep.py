"""The points of a sweep: which keys they may set, and the params of each."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from palimpsest.codec import is_in_fingerprint
from palimpsest.errors import ParamsError
from palimpsest.settings.model import Model
from palimpsest.settings.replay import Mer, Replay
from palimpsest.settings.training import Train

Point = dict[str, Any]
_SECTIONS = {"model": Model, "replay": Replay, "mer": Mer, "train": Train}
# A point shares the data and the evaluation with the others, so only settings of model, training and replay may differ.
_SHARED = ("context_length", "threads", "hub", "revision")


def grid(sweep: Mapping[str, list[Any]]) -> list[Point]:
    """Every combination of the sweep's values, the last key running fastest; one empty point for an empty sweep.

    A value that is itself a mapping of dotted keys sets all of them: a size of the model, say, with its learning rate.
    """
    points: list[Point] = [{}]
    for key, values in sweep.items():
        settings = [value if isinstance(value, dict) else {key: value} for value in values]
        points = [point | setting for point in points for setting in settings]
    return points


def with_point(values: dict[str, Any], point: Point, origin: str) -> dict[str, Any]:
    """The contents of a params file with the dotted keys of ``point`` replaced, and without a sweep.

    Raises ParamsError, naming ``origin``, for a key that cannot be swept.
    """
    edited = copy.deepcopy(values) | {"sweep": {}}
    for dotted, value in point.items():
        section, _, key = dotted.partition(".")
        fields = {field.name: field for field in dataclasses.fields(_SECTIONS[section])} if section in _SECTIONS else {}
        known = fields.get(key)
        if not fields or key in _SHARED or key.startswith("eval_") or (known and not is_in_fingerprint(known)):
            raise ParamsError(
                f"{origin}: sweep: {dotted!r} cannot be swept; keys of model, train, replay and mer can, which shape a "
                "training alone (train.context_length and train.threads cannot)"
            )
        if not known:
            raise ParamsError(f"{origin}: sweep: {dotted!r} is not a key of params.yaml")
        edited[section] = (edited.get(section) or {}) | {key: value}
    return edited
