"""Some of the documents that cleaning dropped, by language and reason, for a person to judge the rules by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from palimpsest.artifact import read_manifest

_SHOWN = 5
_CHARACTERS = 240
_FILE = "dropped.jsonl.zst"

# Language → reason → what is shown of its documents: ``id`` and ``text``.
Samples = dict[str, dict[str, list[dict[str, str]]]]


def read(corpora: list[Path]) -> Samples:
    """Up to ``_SHOWN`` documents a reason from each corpus folder. Raises ArtifactError for an unfinished one."""
    return {corpus.name: _of(read_manifest(corpus, "corpus").folder / _FILE) for corpus in corpora}


def _of(path: Path) -> dict[str, list[dict[str, str]]]:
    shown: dict[str, list[dict[str, str]]] = {}
    for document in _documents(path):
        some = shown.setdefault(document["reason"], [])
        if len(some) < _SHOWN:
            some.append({"id": document["id"], "text": _short(document["text"])})
    return shown


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CHARACTERS else f"{line[:_CHARACTERS].rstrip()}…"


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    with zstandard.open(path, "rt", encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)
