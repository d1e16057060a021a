"""The one typed declaration of params.yaml: every key, its type, its range and its default.

``docs/params.md`` is made from the descriptions here. Nothing else in the project declares a setting; stages get
the resolved values that they use as plain JSON, so that training needs no validator library.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from palimpsest.errors import DataError, ParamsError
from palimpsest.params.cleaning import Corpus
from palimpsest.params.section import Section
from palimpsest.params.sources import KINDS
from palimpsest.params.training import SHAPES_NOTHING, Evaluate, Mer, Model, Replay, Tokenizer, Train
from palimpsest.paths import expand

Arm = Literal["sequential", "replay", "reptile", "mer", "joint"]


class Params(Section):
    """params.yaml as a whole."""

    languages: Annotated[list[str], Field(min_length=1)] = Field(description="the stages, in order")
    corpus: Corpus
    tokenizer: Tokenizer = Tokenizer()
    model: Model = Model()
    train: Train = Train()
    replay: Replay = Replay()
    mer: Mer = Mer()
    arms: Annotated[list[Arm], Field(min_length=1)] = Field(
        ["sequential", "replay", "mer", "joint"],
        description="what is compared: sequential, replay, reptile, mer, joint",
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        [0], description="one run of every arm for each; a seed sets the initial weights and the order of the data"
    )
    evaluate: Evaluate = Evaluate()
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {},
        description="dotted key → values, or any name → mappings of dotted keys that go together; results/sweep.json "
        "has every combination, results/scaling.json what it says of model size",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("languages", "arms", "seeds"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}: {getattr(self, name)} names something twice")
        for language in self.languages:
            if language not in self.corpus.sources:
                raise ValueError(
                    f"languages: {language!r} has no entry in corpus.sources; it has {', '.join(self.corpus.sources)}"
                )
        for language in self.replay.rates:
            if language not in self.languages[1:]:
                raise ValueError(
                    f"replay.rates: {language!r} has no stage that replays; those after the first do: "
                    f"{', '.join(self.languages[1:]) or 'there is none'}"
                )
        if {"mer", "reptile"} & set(self.arms) and self.mer.interval > self.train.steps:
            raise ValueError(
                f"mer.interval: {self.mer.interval} steps are more than the {self.train.steps} of a stage (train.steps)"
            )
        return self


def parse(values: Any, origin: str) -> Params:
    """As ``validate``, and the files that are named must be there."""
    params = validate(values, origin)
    for key, pattern in _patterns(params, values):
        if Path(expand(pattern)).is_dir():
            raise ParamsError(f"{origin}: {key}: {pattern!r} is a folder; name the files in it, as in {pattern}/**/*")
        if not any(Path(path).is_file() for path in glob.iglob(expand(pattern), recursive=True)):
            raise ParamsError(f"{origin}: {key}: {pattern!r} matches no file")
    if (path := params.tokenizer.path) and not Path(expand(path)).is_file():
        raise ParamsError(f"{origin}: tokenizer.path: {path!r}: no such file")
    return params


def validate(values: Any, origin: str) -> Params:
    """The contents of a params file, typed; every problem is named by key, value and what is allowed."""
    if not isinstance(values, dict):
        raise ParamsError(f"{origin}: expected keys and values, found {type(values).__name__}")
    try:
        params = Params.model_validate(_numbers(values))
    except ValidationError as error:
        problems = (_explain(problem, values) for problem in error.errors())
        raise ParamsError("\n".join(f"{origin}: {problem}" for problem in problems)) from None
    for point in grid(params.sweep):
        if point:
            override(params, point, origin)
    return params


@contextlib.contextmanager
def naming(origin: str) -> Iterator[None]:
    """Errors about what the values of a params file stand for begin with its name too."""
    try:
        yield
    except (ParamsError, DataError) as error:
        raise type(error)(f"{origin}: {error}") from None


def load(path: Path) -> Params:
    """Read and validate a params file."""
    return parse(read(path), str(path))


def read(path: Path) -> Any:
    """The contents of a params file, not yet validated."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is said twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        said: set[Any] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in said:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is said twice", key.start_mark)
            said.add(key.value)
        return super().construct_mapping(node, deep)


def _numbers(value: Any) -> Any:
    """The value with what is written like 2e-3 made a number, as YAML 1.2 has it; 1.1 asks for 2.0e-3."""
    match value:
        case dict():
            return {key: _numbers(each) for key, each in value.items()}
        case list():
            return [_numbers(each) for each in value]
        case str() if re.fullmatch(r"[+-]?\d{1,6}(\.\d*)?[eE][+-]?\d{1,3}", value):
            return float(value)
    return value


def grid(sweep: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the sweep's values, the last key running fastest; one empty point for an empty sweep.

    A value that is itself a mapping of dotted keys sets all of them: a size of the model, say, with its learning rate.
    """
    points: list[dict[str, Any]] = [{}]
    for key, values in sweep.items():
        settings = [value if isinstance(value, dict) else {key: value} for value in values]
        points = [point | setting for point in points for setting in settings]
    return points


# A point of a sweep shares the data and the evaluation with the others, so that only what shapes a training may differ.
_SHARED = "|".join(["context_length", "threads", *sorted(SHAPES_NOTHING), "eval_", "path", "hub", "revision"])
_SWEPT = re.compile(rf"(model|replay|mer|train)\.(?!{_SHARED})\w+")


def override(params: Params, point: dict[str, Any], origin: str = "sweep") -> Params:
    """The params with dotted keys replaced as a sweep does, validated again, without a sweep of their own."""
    # What was not said stays unsaid: for cleaning, a default lies below what is published for a language.
    values, known = params.model_dump(exclude_unset=True), params.model_dump()
    values["sweep"] = {}
    for dotted, value in point.items():
        section, _, key = dotted.partition(".")
        if not _SWEPT.fullmatch(dotted):
            raise ParamsError(
                f"{origin}: sweep: {dotted!r} cannot be swept; keys of model, train, replay and mer can, which shape a "
                "training alone (train.context_length and train.threads cannot)"
            )
        if key not in known[section]:
            raise ParamsError(f"{origin}: sweep: {dotted!r} is not a key of params.yaml")
        values.setdefault(section, {})[key] = value
    return validate(values, f"{origin}: sweep {point}")


def _patterns(params: Params, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every glob that must match a file, with its key."""
    for language in params.languages:
        for number, source in enumerate(params.corpus.sources[language]):
            if path := getattr(source, "path", None):
                yield _key(("corpus", "sources", language, number, "path"), values), path
        for pattern in (params.corpus.cleaning(language)["decontamination"] or {"paths": []})["paths"]:
            yield "corpus.decontamination.paths", pattern


def _key(place: tuple[Any, ...], values: Any) -> str:
    """A key as the file has it: without the tag of a union, and the number of a source that stands in no list."""
    parts = [part for at, part in enumerate(place) if not (at == 4 and part in KINDS)]
    match parts:
        case ["corpus", "sources", language, int(), *rest] if isinstance(values["corpus"]["sources"][language], dict):
            parts = ["corpus", "sources", language, *rest]
    return ".".join(map(str, parts))


def _explain(problem: Any, values: Any) -> str:
    message: str = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # of the file as a whole: the message names the keys
        return message
    key = _key(problem["loc"], values)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; see docs/params.md for the keys that there are"
    if problem["type"] == "missing":
        return f"{key}: missing; it has no default"
    found = problem["input"]
    shown = "" if isinstance(found, dict | BaseModel) else f": found {found!r}"
    return f"{key}{shown}: {message}"
