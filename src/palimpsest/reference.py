"""docs/params.md, made from the declarations in params, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from palimpsest.params import Params
from palimpsest.params.sources import KINDS, AnySource

_INTRODUCTION = """\
# params.yaml, key by key

Made by `palimpsest reference` from `src/palimpsest/params`. A key that is left out has the default; an unknown
one is refused. Keep the top-level keys in the file even where empty (`sweep: {}`): DVC watches them by name.

| key | default | meaning |
|---|---|---|
"""


def markdown() -> str:
    """The whole page."""
    rows = [*_rows(Params, "")]
    rows.append(f"| **corpus.sources.{{language}}**, each | | {_summary(AnySource)} |")
    shared = [*_rows(AnySource, "")]
    rows += shared
    for kind, source in KINDS.items():
        rows.append(f"| **corpus.sources.{{language}}** with `kind: {kind}` | | {_summary(source)} |")
        rows += [row for row in _rows(source, "") if row not in shared and not row.startswith("| `kind`")]
    return _INTRODUCTION + "\n".join(rows) + "\n"


def _rows(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        nested = _section(field)
        if nested:
            yield f"| **{prefix}{name}** | | {_summary(nested)} |"
            yield from _rows(nested, f"{prefix}{name}.")
        else:
            meaning = (field.description or "").replace("|", "\\|")
            yield f"| `{prefix}{name}` | {_default(field)} | {meaning}{_choices(field)} |"


def _section(field: FieldInfo) -> type[BaseModel] | None:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _summary(section: type[BaseModel]) -> str:
    return " ".join((section.__doc__ or "").split())


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is PydanticUndefined:
        return "needed"
    return "`null`" if value is None else f"`{value}`"


def _choices(field: FieldInfo) -> str:
    options = [option for option in get_args(field.annotation) if isinstance(option, str)]
    return f" ({', '.join(options)})" if options else ""
