"""Some of the documents that cleaning dropped, by language and reason, for a person to judge the rules by."""

from __future__ import annotations

import json
from pathlib import Path

import zstandard

from palimpsest.artifact import read_manifest
from palimpsest.report import formatting

_SHOWN = 5
_CHARACTERS = 240
_FILE = "dropped.jsonl.zst"

DroppedDocuments = dict[str, dict[str, list[dict[str, str]]]]
"""Language → reason → what is shown of its documents: ``id`` and ``text``."""


def read(corpora: list[Path]) -> DroppedDocuments:
    """Up to five documents a reason from each corpus folder. Raises ArtifactError for an unfinished one."""
    return {corpus.name: _read(read_manifest(corpus, "corpus").folder / _FILE) for corpus in corpora}


def _read(path: Path) -> dict[str, list[dict[str, str]]]:
    shown: dict[str, list[dict[str, str]]] = {}
    with zstandard.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for document in map(json.loads, file):
            some = shown.setdefault(document["reason"], [])
            if len(some) < _SHOWN:
                some.append({"id": document["id"], "text": _shorten(document["text"])})
    return shown


def _shorten(text: str) -> str:
    """The beginning on one line; of a text that is all blanks, the blanks made visible."""
    line = text if formatting.is_blank(text) else " ".join(text.split())
    return formatting.visible(line if len(line) <= _CHARACTERS else f"{line[:_CHARACTERS]}…")
