"""params.yaml: read, validated and typed. What can be set is declared in palimpsest.settings."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from palimpsest.errors import DataError, ParamsError
from palimpsest.params.cleaning import cleaning_rules
from palimpsest.params.presets import with_preset
from palimpsest.params.sweep import Point, grid, with_point
from palimpsest.params.yaml_file import read, with_numbers
from palimpsest.settings.base import expand
from palimpsest.settings.params import Params
from palimpsest.settings.sources import KINDS

__all__ = ["Params", "Point", "grid", "load", "naming", "parse", "point_params", "read", "validate"]

_ADAPTER = TypeAdapter(Params)
# Keys of a section that reading the file computes, by the section's key.
_COMPUTED_IN_CORPUS, _COMPUTED_IN_SOURCE = "cleaning", "folder"


def load(path: Path) -> Params:
    """Read and validate a params file."""
    return parse(read(path), str(path))


def parse(values: Any, origin: str) -> Params:
    """As ``validate``, and every file that is named must exist."""
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
    """The contents of a params file, typed, and each point of its sweep checked.

    Raises ParamsError that names every problem by key, value and what is allowed.
    """
    params = _validate(values, origin)
    for point in grid(params.sweep):
        if point:
            point_params(values, point, origin)
    return params


def point_params(values: Any, point: Point, origin: str = "sweep") -> Params:
    """The params of one point of the sweep of a file with contents ``values``; they have no sweep themselves."""
    return _validate(with_point(values, point, origin), f"{origin}: sweep {point}")


@contextlib.contextmanager
def naming(origin: str) -> Iterator[None]:
    """Prefix errors about what the values of a params file refer to with the file's name."""
    try:
        yield
    except (ParamsError, DataError) as error:
        raise type(error)(f"{origin}: {error}") from None


def _validate(values: Any, origin: str) -> Params:
    if not isinstance(values, dict):
        raise ParamsError(f"{origin}: expected keys and values, found {type(values).__name__}")
    try:
        prepared = _prepared(with_numbers(values))
        params = _ADAPTER.validate_python(prepared)
        rules = cleaning_rules(prepared["corpus"], params.corpus.sources)
    except ValidationError as error:
        problems = (_explain(problem, values) for problem in error.errors())
        raise ParamsError("\n".join(f"{origin}: {problem}" for problem in problems)) from None
    except ValueError as error:
        raise ParamsError(f"{origin}: corpus: {error}") from None
    return dataclasses.replace(params, corpus=dataclasses.replace(params.corpus, cleaning=rules))


def _prepared(values: dict[str, Any]) -> dict[str, Any]:
    """Every source in a list, with its preset's values and a name. What is not a source is left to validation."""
    corpus = values.get("corpus")
    if not isinstance(corpus, dict) or not isinstance(corpus.get("sources"), dict):
        return values
    if _COMPUTED_IN_CORPUS in corpus:
        raise ValueError(f"{_COMPUTED_IN_CORPUS}: unknown key; valid keys are listed in docs/params.md")
    sources = {
        language: [_prepared_source(language, source) for source in (given if isinstance(given, list) else [given])]
        for language, given in corpus["sources"].items()
    }
    return values | {"corpus": corpus | {"sources": sources}}


def _prepared_source(language: str, source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    if _COMPUTED_IN_SOURCE in source:
        raise ValueError(f"sources.{language}.{_COMPUTED_IN_SOURCE}: unknown key; a local folder is named by dataset")
    source = with_preset(language, source)
    name = {"name": source.get("name") or source.get("preset") or source.get("kind")}
    dataset = source.get("dataset")
    if source.get("kind") == "hf" and isinstance(dataset, str) and dataset and Path(dataset).is_dir():
        return source | name | {"dataset": "", "folder": dataset}
    return source | name


def _patterns(params: Params, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every glob that must match a file, with its key."""
    for language in params.languages:
        for number, source in enumerate(params.corpus.sources[language]):
            if path := getattr(source, "path", None):
                yield _key(("corpus", "sources", language, number, "path"), values), path
        if decontamination := params.cleaning(language).decontamination:
            for pattern in decontamination.paths:
                yield "corpus.decontamination.paths", pattern


def _key(location: tuple[Any, ...], values: Any) -> str:
    """A key as the file has it: without the tag of a union, and the number of a source that is not in a list."""
    parts = [part for at, part in enumerate(location) if not (at == 4 and part in KINDS)]
    match parts:
        case ["corpus", "sources", language, int(), *rest] if isinstance(values["corpus"]["sources"][language], dict):
            parts = ["corpus", "sources", language, *rest]
    return ".".join(map(str, parts))


def _explain(problem: Any, values: Any) -> str:
    message: str = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # of the file as a whole: the message names the keys
        return message
    key = _key(problem["loc"], values)
    if problem["type"] == "unexpected_keyword_argument":
        return f"{key}: unknown key; valid keys are listed in docs/params.md"
    if problem["type"] == "missing":
        return f"{key}: missing; it has no default"
    found = problem["input"]
    shown = "" if isinstance(found, dict) or dataclasses.is_dataclass(found) else f": found {found!r}"
    return f"{key}{shown}: {message}"
