"""Lineages: a checkpoint's path is its history.

``runs/tiny-s0.1f2e…/en.77ab…/fr+r25+mer.3fa9…`` is the model after English and then French with 25 % replay and MER.
The folder above is the parent checkpoint, so arms and rates that share a past share its compute. Each segment ends in
a fingerprint of every param, input and revision that shaped it: another ε is another folder, and the old one is found
again when the edit is taken back. Which fields take part is declared where they are: ``in_fingerprint=False`` in
palimpsest.settings, ``excluded_from_fingerprint`` in palimpsest.specs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from palimpsest.artifact import fingerprint
from palimpsest.codec import fingerprint_fields, spec_fingerprint
from palimpsest.experiment.build_specs import init_spec, train_spec
from palimpsest.settings.model import Model
from palimpsest.settings.params import Params
from palimpsest.specs.training import InitSpec, TrainSpec

_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """One checkpoint. ``stage`` names its row of the loss matrix: "init", a language, or "joint"."""

    path: str
    stage: str
    seed: int
    spec: InitSpec | TrainSpec
    parent: Lineage | None

    @property
    def initial(self) -> InitSpec:
        """The spec of the initial model."""
        first = next(iter(self)).spec
        assert isinstance(first, InitSpec)
        return first

    @property
    def training(self) -> TrainSpec:
        """The spec of a checkpoint that was trained: every one but the initial model."""
        assert isinstance(self.spec, TrainSpec), f"{self.path} is an initial model"
        return self.spec

    @property
    def replays(self) -> bool:
        return isinstance(self.spec, TrainSpec) and self.spec.replay is not None

    @property
    def past(self) -> list[str]:
        """The languages that this stage may replay."""
        return [past.language for past in self.training.past] if self.replays else []

    def __iter__(self) -> Iterator[Lineage]:
        """From the initial model to this checkpoint."""
        if self.parent:
            yield from self.parent
        yield self


# Arm → seed → the last checkpoint.
Arms = Mapping[str, Mapping[int, Lineage]]


def lineages(params: Params, data: Mapping[str, str]) -> Arms:
    """The last checkpoint of every arm and seed. ``data``: language → fingerprint of its token shards."""
    return {arm: {seed: _lineage(params, arm, seed, data) for seed in params.seeds} for arm in params.arms}


def checkpoints(arms: Arms) -> list[Lineage]:
    """Every checkpoint of the arms, each once."""
    found = {lineage.path: lineage for seeds in arms.values() for last in seeds.values() for lineage in last}
    return list(found.values())


def _lineage(params: Params, arm: str, seed: int, data: Mapping[str, str]) -> Lineage:
    spec = init_spec(params, seed, data)
    path = f"{_model_name(params.model)}-s{seed}.{spec_fingerprint(spec)[:_DIGITS]}"
    lineage = Lineage(path=path, stage="init", seed=seed, spec=spec, parent=None)
    parent: TrainSpec | None = None
    for _ in range(1 if arm == "joint" else len(params.languages)):
        parent = train_spec(params, arm, seed, parent, data)
        stage = "joint" if arm == "joint" else parent.new[0].language
        name = fingerprint([lineage.path, fingerprint_fields(parent)])[:_DIGITS]
        path = f"{lineage.path}/{stage}{_method_label(parent)}.{name}"
        lineage = Lineage(path=path, stage=stage, seed=seed, spec=parent, parent=lineage)
    return lineage


def _model_name(model: Model) -> str:
    """Excludes the name of a model's folder: its location does not affect any result."""
    if model.hub:
        return model.hub.rsplit("/", 1)[-1]
    return "given" if model.path else model.preset


def _method_label(spec: TrainSpec) -> str:
    rate = f"+r{(spec.replay.rate * 100).normalize():f}" if spec.replay else ""
    return rate + (("+mer" if spec.replay else "+reptile") if spec.mer else "")
