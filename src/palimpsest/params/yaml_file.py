"""Reading YAML: numbers as YAML 1.2 has them, and no duplicate keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from palimpsest.errors import ParamsError


def read(path: Path) -> Any:
    """The contents of a params file, not yet validated."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ParamsError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None


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
