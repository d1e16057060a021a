"""Typed objects as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.codec import decode, encode, excluded_from_fingerprint, fingerprint_fields, spec_fingerprint
from palimpsest.errors import ArtifactError


@dataclass(frozen=True, kw_only=True)
class Red:
    kind: Literal["red"] = "red"
    path: str | None = excluded_from_fingerprint(default=None)


@dataclass(frozen=True, kw_only=True)
class Blue:
    kind: Literal["blue"] = "blue"
    depth: float


@dataclass(frozen=True, kw_only=True)
class Whole:
    rate: Decimal
    count: int
    flag: bool = False
    parts: tuple[Red | Blue, ...] = ()
    by_n: Mapping[int, float] = field(default_factory=dict)
    best: Blue | None = None


parts = st.one_of(
    st.builds(Red, path=st.none() | st.text()), st.builds(Blue, depth=st.floats(allow_nan=False, allow_infinity=False))
)
wholes = st.builds(
    Whole,
    rate=st.decimals(min_value=0, max_value=1, places=9),
    count=st.integers(),
    flag=st.booleans(),
    parts=st.lists(parts).map(tuple),
    by_n=st.dictionaries(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    best=st.none() | st.builds(Blue, depth=st.just(1.5)),
)


@given(wholes)
def test_what_is_written_reads_back_equal(whole: Whole) -> None:
    assert decode(Whole, json.loads(json.dumps(encode(whole))), "file") == whole


def test_identity_leaves_out_where_files_are() -> None:
    here = Whole(rate=Decimal("0.250"), count=1, parts=(Red(path="/here"),))
    there = Whole(rate=Decimal("0.25"), count=1, parts=(Red(path="/there"),))
    assert encode(here) != encode(there)
    assert fingerprint_fields(here) == {
        "rate": "0.25", "count": 1, "flag": False, "parts": [{"kind": "red"}], "by_n": {}, "best": None,
    }  # fmt: skip
    assert spec_fingerprint(here) == spec_fingerprint(there)
    assert spec_fingerprint(here) != spec_fingerprint(Whole(rate=Decimal("0.25"), count=2, parts=(Red(path="/here"),)))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"rate": "0.5", "count": 1, "extra": 2}, "extra: unknown key"),
        ({"rate": "0.5"}, "count: missing key of Whole"),
        ({"rate": 0.5, "count": 1}, "rate: found 0.5, expected Decimal"),
        ({"rate": "half", "count": 1}, "rate: found 'half'"),
        ({"rate": "0.5", "count": True}, "count: found True, expected int"),
        ({"rate": "0.5", "count": 1, "flag": 1}, "flag: found 1, expected bool"),
        ({"rate": "0.5", "count": 1, "parts": [{"kind": "green"}]}, "parts[0]: found"),
        ({"rate": "0.5", "count": 1, "parts": [{"kind": "blue"}]}, "parts[0].depth: missing key of Blue"),
        ({"rate": "0.5", "count": 1, "parts": {}}, "parts: found {}, expected a list"),
        ({"rate": "0.5", "count": 1, "by_n": {"two": 0.1}}, "by_n: found 'two', expected a whole number as key"),
        ({"rate": "0.5", "count": 1, "best": []}, "best: found [], expected a mapping"),
        ([], "the whole file: found [], expected a mapping"),
    ],
)
def test_what_does_not_fit_is_named_with_file_and_key(value: Any, named: str) -> None:
    with pytest.raises(ArtifactError) as error:
        decode(Whole, value, "a.json")
    assert str(error.value).startswith("a.json: ")
    assert named in str(error.value)
