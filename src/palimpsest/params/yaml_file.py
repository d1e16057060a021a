"""Reading YAML: numbers as YAML 1.2 has them, and no duplicate keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from palimpsest.errors import ParamsError

_MAX_VALUES, _MAX_DEPTH = 100_000, 50


def read(path: Path) -> Any:
    """The contents of a params file, not yet validated; bounded in size and depth, whatever its aliases expand to."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}") from None
    # ValueError: a date or number that Python cannot hold. RecursionError: thousands of open brackets.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if _count_down(value, _MAX_VALUES, _MAX_DEPTH) is None:
        raise ParamsError(
            f"{path}: more than {_MAX_VALUES:,} values, or nested more than {_MAX_DEPTH} deep, with its aliases "
            "(*name) expanded; write it without aliases"
        )
    return value


def _count_down(value: Any, left: int, depth: int) -> int | None:
    """``left`` less the number of values in ``value``; None where that or the depth runs out. Aliases may be cyclic."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | set | tuple) else ()
    remaining: int | None = left - 1
    for part in parts:
        if not remaining or not depth:
            return None
        remaining = _count_down(part, remaining, depth - 1)
    return remaining


class _Loader(yaml.SafeLoader):
    """Refuses a duplicate key, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def with_numbers(value: Any) -> Any:
    """The value with strings such as 2e-3 as numbers, as in YAML 1.2; YAML 1.1 requires 2.0e-3."""
    match value:
        case dict():
            return {key: with_numbers(each) for key, each in value.items()}
        case list():
            return [with_numbers(each) for each in value]
        case str() if re.fullmatch(r"[+-]?\d{1,6}(\.\d*)?[eE][+-]?\d{1,3}", value):
            return float(value)
    return value
