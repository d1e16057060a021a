"""What every folder of tests has: token folders, a tokenizer, an environment of its own for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A test must not fail because the machine is busy.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

_LONGEST_FIRST = ("workflow", "train")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the folders with the longest tests first, so that several workers finish at about the same time."""
    order = {folder: number for number, folder in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Restore the environment's variables after each test: code under test sets some, such as being offline."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Token folders of en, fr and de, by language."""
    from support.tokens import write_tokens

    root = tmp_path_factory.mktemp("tokens")
    return {language: write_tokens(root / language, language) for language in ("en", "fr", "de")}


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tokenizer for them."""
    from support.tokens import write_tokenizer

    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))
