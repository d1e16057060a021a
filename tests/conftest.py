"""Small folders in the documented formats, for tests of what comes after the tokens."""

import os
from pathlib import Path

import numpy as np
import pytest

from palimpsest.artifact import write_manifest
from palimpsest.tokens.megatron import ShardWriter

VOCAB = 300
END_OF_TEXT = 0
LANGUAGES = ("en", "fr", "de", "ar", "ja")


def write_tokens(folder: Path, language: str, documents: int = 60, seed: int = 0) -> Path:
    """A data/tokens/{language} of random documents; each language has tokens of its own."""
    rng = np.random.default_rng([seed, *language.encode()])
    low = 1 + 50 * LANGUAGES.index(language)
    counts = {}
    for split, number in (("train", documents), ("validation", 6)):
        with ShardWriter(folder / f"{split}-00000", "uint16") as shard:
            texts = [rng.integers(low, low + 50, size=rng.integers(20, 80)) for _ in range(number)]
            for text in texts:
                shard.add(np.append(text, END_OF_TEXT))
        tokens = sum(len(text) + 1 for text in texts)
        counts[split] = {"documents": number, "tokens": tokens, "bytes": 3 * tokens}
    write_manifest(
        folder,
        stage="tokens",
        params={"dtype": "uint16", "end_of_text": END_OF_TEXT, "vocab_size": VOCAB},
        inputs={},
        files=sorted(folder.glob("*-00000.*")),
        counts=counts,
    )
    return folder


@pytest.fixture(scope="session")
def tokens(tmp_path_factory) -> dict[str, Path]:
    """Token folders of en, fr and de."""
    root = tmp_path_factory.mktemp("tokens")
    return {language: write_tokens(root / language, language) for language in ("en", "fr", "de")}


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Path:
    """A data/tokenizer with ``VOCAB`` entries of three bytes each."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {"<|endoftext|>": END_OF_TEXT} | {f"w{entry}": entry for entry in range(1, VOCAB)}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<|endoftext|>"))
    words.save(str(folder / "tokenizer.json"))
    np.save(folder / "token_bytes.npy", np.array([0] + [3] * (VOCAB - 1), dtype=np.int32))
    write_manifest(
        folder,
        stage="tokenizer",
        params={},
        inputs={},
        files=[folder / "tokenizer.json", folder / "token_bytes.npy"],
        counts={"vocab_size": VOCAB, "end_of_text": END_OF_TEXT, "fertility": {}},
    )
    return folder


def pytest_collection_modifyitems(items):
    """The longest files first, so that several workers end at about the same time."""
    items.sort(key=lambda item: {"workflow": 0, "train": 1}.get(item.path.parent.name, 2))


@pytest.fixture(autouse=True, scope="module")
def environment():
    """What a file's tests leave in the environment, such as being offline, does not reach those of the next."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
