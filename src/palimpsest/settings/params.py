"""params.yaml as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from palimpsest.settings.base import Bound, Settings, required, setting
from palimpsest.settings.cleaning import Cleaning, Corpus
from palimpsest.settings.evaluation import Evaluate
from palimpsest.settings.model import Model, Tokenizer
from palimpsest.settings.replay import Mer, Replay
from palimpsest.settings.training import Train

Arm = Literal["sequential", "replay", "reptile", "mer", "joint"]
SweepValues = Annotated[list[Any], Bound(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Params(Settings):
    """params.yaml as a whole."""

    languages: Annotated[tuple[str, ...], Bound(min_length=1)] = required("the stages, in order")
    corpus: Corpus = required("where text comes from, and how it is cleaned")
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    train: Train = Train()
    replay: Replay = Replay()
    mer: Mer = Mer()
    arms: Annotated[tuple[Arm, ...], Bound(min_length=1)] = setting(
        ("sequential", "replay", "mer", "joint"), "the methods that are compared"
    )
    seeds: Annotated[tuple[Annotated[int, Bound(ge=0)], ...], Bound(min_length=1)] = setting(
        (0,), "one run of every arm for each; a seed sets the initial weights and the order of the data"
    )
    evaluate: Evaluate = Evaluate()
    sweep: Mapping[str, SweepValues] = setting(
        {},
        "dotted key → values, or any name → mappings of dotted keys that change together; results/sweep.json "
        "has every combination, results/scaling.json the analysis by model size",
    )

    def __post_init__(self) -> None:
        for name in ("languages", "arms", "seeds"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}: {list(getattr(self, name))} has a duplicate")
        for language in self.languages:
            if language not in self.corpus.sources:
                raise ValueError(
                    f"languages: {language!r} has no entry in corpus.sources; it has {', '.join(self.corpus.sources)}"
                )
        for language in self.replay.rates:
            if language not in self.languages[1:]:
                raise ValueError(
                    f"replay.rates: {language!r} has no stage that replays; those after the first do: "
                    f"{', '.join(self.languages[1:]) or 'none'}"
                )
        if {"mer", "reptile"} & set(self.arms) and self.mer.interval > self.train.steps:
            raise ValueError(
                f"mer.interval: {self.mer.interval} steps are more than the {self.train.steps} of a stage (train.steps)"
            )

    def cleaning(self, language: str) -> Cleaning:
        """The cleaning rules of one language."""
        assert self.corpus.cleaning is not None, "params come from palimpsest.params.validate"
        return self.corpus.cleaning[language]
