"""A tokenizer.json from the Hugging Face hub: that file alone, at a pinned commit."""

from __future__ import annotations

from pathlib import Path

from palimpsest.errors import DataError
from palimpsest.hub import Repository

_INSTEAD = "give the file as tokenizer.path"


def tokenizer_json(repository: str, revision: str) -> Path:
    """The file in the hub's cache, fetched if it is not there. Raises DataError."""
    model = Repository(section="tokenizer", name=repository, revision=revision, error=DataError, instead=_INSTEAD)
    return model.file("tokenizer.json", f"convert its tokenizer, and {_INSTEAD}")
