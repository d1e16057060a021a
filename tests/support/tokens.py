"""Small token folders and a tokenizer in the documented formats, for tests of what comes after the tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from palimpsest.artifact import write_manifest
from palimpsest.tokens.megatron import ShardWriter

VOCAB_SIZE = 300
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
        params={"dtype": "uint16", "end_of_text": END_OF_TEXT, "vocab_size": VOCAB_SIZE},
        inputs={},
        files=sorted(folder.glob("*-00000.*")),
        counts=counts,
    )
    return folder


def write_tokenizer(folder: Path) -> Path:
    """A data/tokenizer of ``VOCAB_SIZE`` words, each three bytes long."""
    vocabulary = {"<|endoftext|>": END_OF_TEXT} | {f"w{entry}": entry for entry in range(1, VOCAB_SIZE)}
    folder.mkdir(parents=True, exist_ok=True)
    Tokenizer(WordLevel(vocabulary, unk_token="<|endoftext|>")).save(str(folder / "tokenizer.json"))
    np.save(folder / "token_bytes.npy", np.array([0] + [3] * (VOCAB_SIZE - 1), dtype=np.int32))
    write_manifest(
        folder,
        stage="tokenizer",
        params={},
        inputs={},
        files=[folder / "tokenizer.json", folder / "token_bytes.npy"],
        counts={"vocab_size": VOCAB_SIZE, "end_of_text": END_OF_TEXT, "fertility": {}},
    )
    return folder
