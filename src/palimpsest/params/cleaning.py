"""The cleaning rules of each language: defaults, below what is published for it, the user's keys, and the overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from palimpsest.params.language_defaults import CLEANING
from palimpsest.settings.cleaning import Cleaning

_KEYS = {field.name for field in dataclasses.fields(Cleaning)}
_ADAPTER = TypeAdapter(Cleaning)


def cleaning_rules(corpus: dict[str, Any], languages: Iterable[str]) -> dict[str, Cleaning]:
    """By language, the rules for the section ``corpus`` as the file has it.

    Raises ValueError naming the key under ``overrides`` that is not valid.
    """
    common = {key: value for key, value in corpus.items() if key in _KEYS}
    return {language: _rules(common, corpus.get("overrides", {}).get(language, {}), language) for language in languages}


def _rules(common: dict[str, Any], override: dict[str, Any], language: str) -> Cleaning:
    merged = _merged(_merged(CLEANING.get(language, {}), common), override)
    try:
        return _ADAPTER.validate_python(merged)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"overrides.{language}.{key}: {problem['msg']}") from None


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``, section by section."""
    both = {
        key: _merged(below[key], value) for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }  # fmt: skip
    return below | above | both
