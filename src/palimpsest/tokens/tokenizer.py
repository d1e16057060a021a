"""The tokenizer stage: one byte-level BPE for all languages, trained here or taken from a file (data/tokenizer).

Text is normalised before (NFC), so the tokenizer changes nothing: what is encoded comes back byte by byte.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from palimpsest.artifact import MANIFEST, Manifest, atomic_file, read_manifest, write_manifest
from palimpsest.errors import DataError
from palimpsest.tokens.byte_level import END_OF_TEXT, end_of_text, token_bytes
from palimpsest.tokens.encode import Encoder
from palimpsest.tokens.sample import held_out, training_sample, words

logger = logging.getLogger(__name__)

_MB = 10**6
_LETTERS = r"\p{L}\p{M}"  # with their marks: vowel signs and accents must not cut a word
# No token reaches across these pieces, the first that fits wins (the idea of GPT-2, GPT-4 and Llama 3).
_PIECES = (
    rf"(?i:['’](?:s|t|d|m|ll|re|ve))(?![{_LETTERS}])",  # English contractions, but not the French "l'settes"
    rf"[^\r\n{_LETTERS}\p{{N}}]?[{_LETTERS}]+",  # a word, with the space or sign before it
    r"\p{N}{1,3}",  # numbers in groups of up to three digits
    rf" ?[^\s{_LETTERS}\p{{N}}]+[\r\n]*",  # signs, with the line's end
    r"\s*[\r\n]+",  # empty lines and their indentation
    r"\s+(?!\S)",  # spaces, all but the one that goes with the next word
    r"\s+",
)


def build(spec: dict[str, Any], corpora: dict[str, Path], out: Path) -> None:
    """Write data/tokenizer.

    ``spec``: ``tokenizer`` (vocab_size, sample_mb, path), ``languages``, ``revision``. ``corpora``: language → folder.
    Memory grows with sample_mb, not with the corpus. Raises DataError for a given tokenizer that is not byte-level.
    """
    settings = spec["tokenizer"]
    inputs = {language: read_manifest(corpora[language], "corpus") for language in spec["languages"]}
    budget = settings["sample_mb"] * _MB
    (out / MANIFEST).unlink(missing_ok=True)
    file, sizes_file = out / "tokenizer.json", out / "token_bytes.npy"
    content = _given(Path(settings["path"])) if settings["path"] else _trained(inputs, settings["vocab_size"], budget)
    with atomic_file(file) as target:
        target.write(content)
    sizes = token_bytes(file)
    with atomic_file(sizes_file) as target:
        np.save(target, sizes, allow_pickle=False)
    encoder = Encoder(file)
    write_manifest(
        out,
        stage="tokenizer",
        params=_params(spec),
        inputs={f"corpus/{language}": manifest for language, manifest in inputs.items()},
        files=[file, sizes_file],
        counts={
            "vocab_size": len(sizes),
            "end_of_text": end_of_text(file),
            "fertility": {language: _fertility(encoder, manifest, budget) for language, manifest in inputs.items()},
        },
    )


def _params(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What shaped the folder, without the path of a given tokenizer: its content is in the list of files."""
    settings = spec["tokenizer"]
    shaped = {"given": bool(settings["path"]), "sample_mb": settings["sample_mb"]}
    if not settings["path"]:
        shaped["vocab_size"] = settings["vocab_size"]
    return {"languages": spec["languages"], "revision": spec["revision"], "tokenizer": shaped}


def _given(path: Path) -> bytes:
    token_bytes(path)  # refuses, under the name that the user knows, what is not byte-level
    end_of_text(path)
    return path.read_bytes()


def _trained(corpora: Mapping[str, Manifest], vocab_size: int, budget: int) -> bytes:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(_PIECES)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT[0]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    sample = (text for manifest in corpora.values() for text in training_sample(manifest, budget))
    tokenizer.train_from_iterator(sample, trainer=trainer)
    if (reached := tokenizer.get_vocab_size()) < vocab_size:
        logger.warning(
            "tokenizer: %d entries, not the %d of tokenizer.vocab_size: no other pair of tokens occurs twice in the "
            "sample; more text or a larger tokenizer.sample_mb would give more",
            reached,
            vocab_size,
        )
    return tokenizer.to_str(pretty=True).encode()


def _fertility(encoder: Encoder, corpus: Manifest, budget: int) -> dict[str, float]:
    """Tokens per byte and per word on held-out text, end-of-text not counted."""
    tokens = size = count = 0
    for text in held_out(corpus, budget):
        tokens += len(encoder.encode_batch([text])[0])
        size += len(text.encode())
        count += words(text)
    if not count:
        raise DataError(
            f"{corpus.folder}: no words in the validation split, so the tokenizer cannot be judged; "
            "raise corpus.validation_fraction or give more documents"
        )
    return {"tokens_per_byte": round(tokens / size, 6), "tokens_per_word": round(tokens / count, 6)}
