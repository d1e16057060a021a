"""Stage tokenizer: one byte-level BPE for all languages, trained here, or read from a file or the hub (data/tokenizer).

The corpus is normalised already (NFC), so the tokenizer changes nothing: decoding restores every byte of a text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from palimpsest import codec
from palimpsest.artifact import MANIFEST, Manifest, atomic_file, read_manifest, write_manifest
from palimpsest.errors import DataError
from palimpsest.hub import Repository
from palimpsest.settings.base import expand
from palimpsest.settings.model import Tokenizer as TokenizerSettings
from palimpsest.specs.data import TokenizerSpec
from palimpsest.tokens.byte_level import END_OF_TEXT, end_of_text, token_bytes
from palimpsest.tokens.encoders import ReferenceEncoder
from palimpsest.tokens.tokenizer_sample import count_words, held_out_texts, training_sample

logger = logging.getLogger(__name__)

_MB = 10**6
# No token crosses a boundary between these pieces; the first pattern that matches wins. They are those of GPT-4o
# (o200k_base, published with tiktoken), for two reasons. Vowel signs and accents (\p{M}) do not split a word, whereas
# Llama 3's pattern splits Hindi and vocalised Arabic there. And fast encoders have their own code for this pattern, so
# a regular-expression library with different Unicode tables never decides where a piece ends; any edit loses that.
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PIECES = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_CONTRACTION}",  # a word, with the space or symbol before it
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_CONTRACTION}",  # a word that ends in capitals
    r"\p{N}{1,3}",  # numbers in groups of up to three digits
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",  # symbols, with the line end
    r"\s*[\r\n]+",  # blank lines and their indentation
    r"\s+(?!\S)",  # spaces, except the one that belongs to the next word
    r"\s+",
)


def build_tokenizer(spec: TokenizerSpec, corpora: Mapping[str, Path], out: Path) -> None:
    """Write data/tokenizer. ``corpora``: language → folder.

    Memory grows with sample_mb, not with the corpus. Raises DataError if a user-supplied tokenizer is not byte-level.
    """
    settings = spec.tokenizer
    inputs = {language: read_manifest(corpora[language], "corpus") for language in spec.languages}
    budget = settings.sample_mb * _MB
    (out / MANIFEST).unlink(missing_ok=True)
    file, sizes_file = out / "tokenizer.json", out / "token_bytes.npy"
    supplied = _supplied(settings)
    content = _read(supplied) if supplied else _train(inputs, settings.vocab_size, budget)
    with atomic_file(file) as target:
        target.write(content)
    sizes = token_bytes(file)
    with atomic_file(sizes_file) as target:
        np.save(target, sizes, allow_pickle=False)
    encoder = ReferenceEncoder(file)
    write_manifest(
        out,
        stage="tokenizer",
        params=codec.fingerprint_fields(spec),
        inputs={f"corpus/{language}": manifest for language, manifest in inputs.items()},
        files=[file, sizes_file],
        counts={
            "vocab_size": len(sizes),
            "end_of_text": end_of_text(file),
            "fertility": {language: _fertility(encoder, manifest, budget) for language, manifest in inputs.items()},
        },
    )


def _supplied(settings: TokenizerSettings) -> Path | None:
    """The user-supplied tokenizer.json, if there is one."""
    if settings.hub:
        return download_tokenizer(settings.hub, str(settings.revision))
    return Path(expand(settings.path)) if settings.path else None


def download_tokenizer(repository: str, revision: str) -> Path:
    """The cached tokenizer.json of a model on the Hugging Face hub, at a pinned commit. Raises DataError."""
    instead = "give the file as tokenizer.path"
    model = Repository(section="tokenizer", name=repository, revision=revision, error=DataError, instead=instead)
    return model.file("tokenizer.json", f"convert its tokenizer, and {instead}")


def _read(supplied: Path) -> bytes:
    token_bytes(supplied)  # raises, naming the user's own file, if it is not byte-level
    end_of_text(supplied)
    return supplied.read_bytes()


def _train(corpora: Mapping[str, Manifest], vocab_size: int, budget: int) -> bytes:
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


def _fertility(encoder: ReferenceEncoder, corpus: Manifest, budget: int) -> dict[str, float]:
    """Tokens per byte and per word of held-out text, end-of-text excluded."""
    tokens = size = count = 0
    for text in held_out_texts(corpus, budget):
        tokens += len(encoder.encode_batch([text])[0])
        size += len(text.encode())
        count += count_words(text)
    if not count:
        raise DataError(
            f"{corpus.folder}: no words in the validation split, so the tokenizer cannot be measured; "
            "raise corpus.validation_fraction or give more documents"
        )
    return {"tokens_per_byte": round(tokens / size, 6), "tokens_per_word": round(tokens / count, 6)}
