"""How a section of params.yaml is declared: a dataclass whose fields carry default, meaning and bounds."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
from decimal import Decimal
from typing import Annotated, Any, ClassVar, TypeVar

from palimpsest.codec import excluded_from_fingerprint

T = TypeVar("T")
DOC = "doc"
COMPUTED = "computed"


class Settings:
    """Base of every section. Unknown keys are refused, and values are not coerced from other types.

    ``__get_pydantic_core_schema__`` is called by pydantic where params are validated; nothing else needs pydantic.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Strict for scalars, but a mapping is accepted for a dataclass and a list for a tuple, as YAML has them."""
        return _accept_yaml(handler(source))


def setting(default: T, doc: str, *, in_fingerprint: bool = True) -> T:
    """A field with a default. ``in_fingerprint=False``: an edit of it reruns nothing."""
    field = dataclasses.field if in_fingerprint else excluded_from_fingerprint
    if isinstance(default, dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata={DOC: doc})
    return field(default=default, metadata={DOC: doc})


def required(doc: str, *, in_fingerprint: bool = True) -> Any:
    """A field without a default."""
    field = dataclasses.field if in_fingerprint else excluded_from_fingerprint
    return field(metadata={DOC: doc})


def computed(doc: str) -> Any:
    """A field that params.yaml cannot set, computed while it is read. It shapes no output."""
    return excluded_from_fingerprint(default=None, metadata={DOC: doc, COMPUTED: True})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound:
    """Limits of a value, enforced where params are validated. ``pattern`` is searched for, so anchor it."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        limits = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        schema = handler(source)
        schema.update({name: limit for name, limit in limits.items() if limit is not None})
        return schema


Positive = Annotated[int, Bound(gt=0)]
Fraction01 = Annotated[float, Bound(ge=0, le=1)]
# As the Hugging Face hub allows them; the last part is in the names of folders.
HUB_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*"
HubName = Annotated[str, Bound(pattern=rf"^{HUB_NAME}\z")]
CommitHash = Annotated[str, Bound(pattern=r"^[0-9a-f]{40}\z")]


@dataclasses.dataclass(frozen=True)
class ExactRate:
    """A decimal number in [0, 1) with at most nine decimals, read from a YAML number without rounding."""

    def __get_pydantic_core_schema__(self, source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_decimal)


Rate = Annotated[Decimal, ExactRate()]


def _decimal(rate: Any) -> Decimal:
    if isinstance(rate, bool) or not isinstance(rate, int | float | Decimal):
        raise ValueError("must be a number in [0, 1)")
    exact = Decimal(str(rate))
    if not exact.is_finite() or not 0 <= exact < 1:
        raise ValueError("must be in [0, 1)")
    if exact != round(exact, 9):
        raise ValueError("must have at most nine decimals")
    return exact


def _accept_yaml(schema: Any) -> Any:
    if isinstance(schema, dict):
        relaxed = {"strict": False} if schema.get("type") in ("dataclass", "tuple") else {}
        return {key: value if key == "cls" else _accept_yaml(value) for key, value in schema.items()} | relaxed
    if isinstance(schema, list):
        return [_accept_yaml(each) for each in schema]
    return schema


def expand(path: str) -> str:
    """A path with ~ and ${VARIABLES} expanded; params and specs have it unexpanded, so that a move reruns nothing."""
    return os.path.expanduser(os.path.expandvars(path))


def check_variables(path: str, key: str = "") -> None:
    """Raise ValueError for a path with an environment variable that is not set."""
    if missing := re.search(r"\$\{?(\w+)", expand(path)):
        raise ValueError(f"{key and key + ': '}the environment variable {missing[1]} is not set")
