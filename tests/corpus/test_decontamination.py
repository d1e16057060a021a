"""Contamination against a brute-force search, and evaluation sets as files."""

from __future__ import annotations

import json
import unicodedata
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpus_stage import compressed

from palimpsest.corpus.cleaning.decontamination import ContaminationDetector, evaluation_hashes
from palimpsest.errors import DataError

WORDS = ["one", "two", "three", "Four", "five", "猫", "犬", "مُحَمَّد", "e\u0301", "𐐀", "7"]
TEXTS = st.lists(st.sampled_from([*WORDS, "a", "b"]), max_size=12).flatmap(
    lambda words: st.lists(st.sampled_from([" ", "\n", ", ", "。 "]), min_size=len(words), max_size=len(words)).map(
        lambda blanks: "".join(word + blank for word, blank in zip(words, blanks, strict=True))
    )
)
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(["question", "answers", "context"]), VALUES), max_size=4)
SENTENCE = "The quick brown fox jumps over the lazy dog and runs into the dark wood again"


def units(text: str, language: str) -> list[str]:
    if language == "ja":
        return [c.casefold() for c in text if not c.isspace()]
    runs = groupby(text, lambda c: unicodedata.category(c)[0] in "LMN")
    return ["".join(run).casefold() for inside, run in runs if inside]


def runs(text: str, language: str, size: int) -> set[tuple[str, ...]]:
    found = units(text, language)
    return {tuple(found[at : at + size]) for at in range(len(found) - size + 1)}


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def write_records(path: Path, records: list[Any]) -> Path:
    data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    path.write_bytes(compressed(path.name, data))
    return path


def found(hashes: np.ndarray, texts: list[str], ngram: int, language: str = "en") -> list[bool]:
    return ContaminationDetector(hashes, language, ngram).find(texts).tolist()


@settings(max_examples=80, deadline=None)
@given(RECORDS, st.lists(TEXTS, max_size=6), st.sampled_from(["en", "ja"]), st.integers(1, 4))
def test_found_equals_a_search_for_every_run(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], texts: list[str], language: str, size: int
) -> None:
    path = write_records(tmp_path_factory.mktemp("sets") / "set.jsonl", records)
    hashes = evaluation_hashes([path], language, size)
    known = {run for record in records for text in strings(record) for run in runs(text, language, size)}
    assert len(hashes) == len(known)
    assert np.array_equal(hashes, np.unique(hashes))
    assert found(hashes, texts, size, language) == [bool(runs(text, language, size) & known) for text in texts]


def test_many_known_runs(tmp_path: Path) -> None:
    """Enough of them that hashes share places in the filter; none is missed, none is found by chance."""
    path = write_records(tmp_path / "set.jsonl.zst", [{"text": f"known {number} run"} for number in range(50_000)])
    hashes = evaluation_hashes([path], "en", 3)
    texts = [f"known {number} run" if number % 2 else f"unknown {number} run" for number in range(50_000)]
    assert found(hashes, texts, 3) == [bool(number % 2) for number in range(50_000)]


def test_a_copy_is_found_through_case_spaces_and_punctuation(tmp_path: Path) -> None:
    hashes = evaluation_hashes(
        [write_records(tmp_path / "set.jsonl", [{"choices": ["no", {"text": SENTENCE}]}])], "en", 13
    )
    copies = [
        f"Before it. {SENTENCE.upper()} And after.",
        SENTENCE.replace(" ", ",\n\n"),
        " ".join(SENTENCE.split()[:13]),
        " ".join(SENTENCE.split()[:12]),
        SENTENCE.replace("lazy", "idle"),
        "",
    ]
    assert found(hashes, copies, 13) == [True, True, True, False, False, False]


def test_short_values_and_keys_give_nothing(tmp_path: Path) -> None:
    path = write_records(
        tmp_path / "set.jsonl", [{"question": "one two", "answer": ["three"], "one two three": 4, "n": None}]
    )
    assert len(evaluation_hashes([path], "en", 3)) == 0
    assert len(evaluation_hashes([], "en", 3)) == 0


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_files_are_joined_and_their_kinds_are_equal(tmp_path: Path, ending: str) -> None:
    plain = [write_records(tmp_path / f"{name}.jsonl", [{"text": f"{name} {SENTENCE}"}]) for name in "ab"]
    packed = [write_records(tmp_path / f"packed-{name}{ending}", [{"text": f"{name} {SENTENCE}"}]) for name in "ab"]
    expected = evaluation_hashes(plain, "en", 4)
    assert len(expected) == len(SENTENCE.split()) - 4 + 1 + 2
    assert np.array_equal(evaluation_hashes(packed[::-1], "en", 4), expected)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": "a"', "not valid JSON"),
        (b'["a list"]', "expected a JSON object, found list"),
        (b'{"text": "\xff"}', "not valid JSON"),
    ],
)
def test_a_bad_record_is_an_error_with_its_line(tmp_path: Path, line: bytes, problem: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=problem) as caught:
        evaluation_hashes([path], "en", 3)
    assert str(caught.value).startswith(f"{path}:3: ")


def test_a_line_too_long_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"text": "' + b"a " * (10 << 20) + b'"}\n')
    with pytest.raises(DataError, match="too long") as caught:
        evaluation_hashes([path], "en", 3)
    assert str(caught.value).startswith(f"{path}:1: ")


def test_files_that_cannot_be_read_are_errors_that_name_them(tmp_path: Path) -> None:
    cut = write_records(tmp_path / "cut.jsonl.zst", [{"text": str(number)} for number in range(9999)])
    cut.write_bytes(cut.read_bytes()[:-20])
    other = tmp_path / "set.parquet"
    other.write_bytes(b"PAR1")
    for path in (cut, other):
        with pytest.raises(DataError, match=path.name):
            evaluation_hashes([path], "en", 3)
