"""A corpus in five languages, and a tokenizer that was trained on it."""

from pathlib import Path

import pytest
from support.corpus_folder import LANGUAGES, NASTY, documents, write_corpus
from support.data_specs import tokenizer_spec

from palimpsest.tokens.build_tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Language → corpus folder, with three training shards and one held-out shard; both splits have edge cases."""
    root = tmp_path_factory.mktemp("corpus")
    return {
        language: write_corpus(
            root / language,
            train=[[*documents(language, 30, 1), *NASTY], documents(language, 5, 2), documents(language, 40, 3)],
            validation=[[*documents(language, 12, 4), *NASTY]],
        )
        for language in LANGUAGES
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, corpora: dict[str, Path]) -> Path:
    """A data/tokenizer folder, trained on the small corpora."""
    out = tmp_path_factory.mktemp("data") / "tokenizer"
    build_tokenizer(tokenizer_spec(), corpora, out)
    return out
