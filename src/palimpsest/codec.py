"""Frozen dataclasses as JSON and back: one writer, one strict reader, and the fields that make up a fingerprint.

Supported field types: str, int, float, bool, None, Decimal (a JSON string), Literal, unions of those, tuples and
lists, mappings with str or int keys, nested dataclasses, and unions of dataclasses distinguished by a Literal field
``kind``. A field declared with ``excluded_from_fingerprint`` is written and read like any other.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from palimpsest.artifact import fingerprint, read_json
from palimpsest.errors import ArtifactError

T = TypeVar("T")
_EXCLUDED = "excluded_from_fingerprint"


def excluded_from_fingerprint(*, metadata: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """Declare a dataclass field whose edit reruns nothing: a path on this machine, or an option editable mid-run."""
    return dataclasses.field(metadata={**(metadata or {}), _EXCLUDED: True}, **options)


def encode(value: Any) -> Any:
    """Plain JSON for a dataclass or for a tuple or mapping of them."""
    return _encode(value, in_fingerprint_only=False)


def fingerprint_fields(value: Any) -> Any:
    """As ``encode``, without excluded fields. Two specs with equal ones have the same output."""
    return _encode(value, in_fingerprint_only=True)


def spec_fingerprint(value: Any) -> str:
    """SHA-256 (hex) of the fields of a spec that are not excluded."""
    return fingerprint(fingerprint_fields(value))


def decode(cls: type[T], value: Any, where: str) -> T:
    """Read ``cls`` from plain JSON; ``where`` names the file in errors.

    Raises ArtifactError naming the key for an unknown key, a missing key without a default, or a value of
    another type.
    """
    decoded: T = _decode(cls, value, where, "")
    return decoded


def read(cls: type[T], path: Path) -> T:
    """Read ``cls`` from a JSON file."""
    return decode(cls, read_json(path), str(path))


def _encode(value: Any, *, in_fingerprint_only: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _encode(getattr(value, field.name), in_fingerprint_only=in_fingerprint_only)
            for field in dataclasses.fields(value)
            if is_in_fingerprint(field) or not in_fingerprint_only
        }
    if isinstance(value, Mapping):
        return {str(key): _encode(each, in_fingerprint_only=in_fingerprint_only) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(each, in_fingerprint_only=in_fingerprint_only) for each in value]
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form here")


def _decode(annotation: Any, value: Any, where: str, key: str) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin is typing.Annotated:
        return _decode(arguments[0], value, where, key)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, where, key)
    if dataclasses.is_dataclass(annotation):
        return _decode_dataclass(annotation, value, where, key)
    if origin is Literal:
        if value in arguments and type(value) in {type(argument) for argument in arguments}:
            return value
        raise _mismatch(value, " or ".join(map(repr, arguments)), where, key)
    if origin in (tuple, list):
        if not isinstance(value, list):
            raise _mismatch(value, "a list", where, key)
        if origin is list:
            return [_decode(arguments[0], each, where, f"{key}[{at}]") for at, each in enumerate(value)]
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_decode(arguments[0], each, where, f"{key}[{at}]") for at, each in enumerate(value))
        if len(arguments) != len(value):
            raise _mismatch(value, f"a list of {len(arguments)}", where, key)
        pairs = enumerate(zip(arguments, value, strict=True))
        return tuple(_decode(each, part, where, f"{key}[{at}]") for at, (each, part) in pairs)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _mismatch(value, "a mapping", where, key)
        return {
            _key(arguments[0], name, where, key): _decode(arguments[1], each, where, _join(key, name))
            for name, each in value.items()
        }
    return _decode_scalar(annotation, value, where, key)


def _decode_scalar(annotation: Any, value: Any, where: str, key: str) -> Any:
    if annotation is Decimal and isinstance(value, str):
        try:
            return Decimal(value)
        except InvalidOperation:
            raise _mismatch(value, "a decimal number in a string", where, key) from None
    if annotation is float and type(value) is int:
        return float(value)
    if annotation in (None, type(None)):
        if value is None:
            return None
        raise _mismatch(value, "null", where, key)
    if isinstance(annotation, type) and type(value) is annotation:
        return value
    raise _mismatch(value, getattr(annotation, "__name__", str(annotation)), where, key)


def _decode_union(options: tuple[Any, ...], value: Any, where: str, key: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return _decode(options[0], value, where, key)
    if isinstance(value, dict):
        for option in options:
            kinds = typing.get_args(_types(option).get("kind")) if isinstance(option, type) else ()
            if value.get("kind") in kinds:
                return _decode(option, value, where, key)
    for option in options:
        if option in (int, float, str, bool) and type(value) is option:
            return value
    raise _mismatch(value, " or ".join(getattr(option, "__name__", str(option)) for option in options), where, key)


def _decode_dataclass(cls: Any, value: Any, where: str, key: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(value, "a mapping", where, key)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in value:
        if name not in fields:
            raise ArtifactError(f"{where}: {_join(key, name)}: unknown key; {cls.__name__} has {', '.join(fields)}")
    for name, field in fields.items():
        missing = dataclasses.MISSING
        if name not in value and field.default is missing and field.default_factory is missing:
            raise ArtifactError(f"{where}: {_join(key, name)}: missing key of {cls.__name__}")
    annotations = _types(cls)
    arguments = {name: _decode(annotations[name], each, where, _join(key, name)) for name, each in value.items()}
    try:
        return cls(**arguments)
    except ValueError as error:
        raise ArtifactError(f"{where}: {key or cls.__name__}: {error}") from None


def is_in_fingerprint(field: dataclasses.Field[Any]) -> bool:
    """Whether a field takes part in fingerprints."""
    return not field.metadata.get(_EXCLUDED)


@functools.cache
def _types(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _key(annotation: Any, name: str, where: str, key: str) -> Any:
    if annotation is not int:
        return name
    try:
        return int(name)
    except ValueError:
        raise _mismatch(name, "a whole number as key", where, key) from None


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)


def _mismatch(value: Any, expected: str, where: str, key: str) -> ArtifactError:
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "…"
    return ArtifactError(f"{where}: {key or 'the whole file'}: found {shown}, expected {expected}")
