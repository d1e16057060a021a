"""Reads a task file without lm-evaluation-harness: merges includes, replaces functions by their name and hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from palimpsest.artifact import canonical_json, file_digest
from palimpsest.errors import ParamsError

# The folder that the names of the package's own modules are relative to, as a task file names them.
_MODULES = Path(__file__).parents[2]

TaskConfig = dict[str, Any]
"""The YAML of a task file, whose keys belong to the harness."""


def read_task_config(path: Path) -> TaskConfig:
    """A task file with its includes merged in; its own keys replace included ones entirely.

    A function becomes {"function": its name, "code": the hash of its file}. ``code`` is null if its module is neither
    beside the task file nor in this package. Raises ParamsError naming the file and key.
    """
    return _read(path, set())


def _read(path: Path, read_before: set[Path]) -> TaskConfig:
    read_before.add(path.resolve())
    config = _load(path)
    merged: TaskConfig = {}
    for name in _included(path, config.pop("include", [])):
        # The harness refuses any file that is included twice, not only a cycle.
        if (path.parent / name).resolve() in read_before:
            raise ParamsError(f"{path}: key include: {name} is included twice; include every file once, without cycles")
        merged |= _read(path.parent / name, read_before)
    return merged | config


def _load(path: Path) -> TaskConfig:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda _, node: _function(path, node.value))
    try:
        config = yaml.load(path.read_bytes(), Loader=Loader)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"{path}: not a task file: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ParamsError(f"{path}: not a task file: expected keys and values, found {type(config).__name__}")
    if not _is_json(config):
        key, part = _not_json(config)
        raise ParamsError(
            f"{path}: key {key}: found a {type(part).__name__}, expected text, a number, true, false, null, or lists "
            "and keys of these; a date goes in quotes"
        )
    return config


def _function(path: Path, value: Any) -> TaskConfig:
    """As in the harness, a module beside the task file takes precedence."""
    module, _, name = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    if not (module and name):
        raise ParamsError(f"{path}: !function {value}: expected module.function")
    files = (folder / f"{module.replace('.', '/')}.py" for folder in (path.parent, _MODULES))
    return {"function": value, "code": next((file_digest(file) for file in files if file.is_file()), None)}


def _included(path: Path, value: Any) -> list[str]:
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise ParamsError(f"{path}: key include: expected a file name or a list of them, found {value!r}")
    return names


def _is_json(value: Any) -> bool:
    try:
        canonical_json(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _not_json(value: Any, key: str = "", above: tuple[int, ...] = ()) -> tuple[str, Any]:
    """The smallest part of ``value`` that JSON cannot hold, with its dotted key; YAML aliases may form a cycle."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        if id(part) not in above and not _is_json(part):
            return _not_json(part, f"{key}.{name}".lstrip("."), (*above, id(part)))
    return key, value
