"""Specs of the tokenizer and tokens stages for small corpora."""

from typing import Any

from palimpsest.settings.model import Tokenizer
from palimpsest.specs.data import MixtureShare, TokenizerSpec, TokensSpec
from support.corpus_folder import LANGUAGES


def tokenizer_spec(**settings: Any) -> TokenizerSpec:
    tokenizer = Tokenizer(**{"vocab_size": 700, "sample_mb": 1} | settings)
    return TokenizerSpec(languages=LANGUAGES, tokenizer=tokenizer, content=None, revision=1)


def tokens_spec(language: str, **sources: tuple[float | None, int | None]) -> TokensSpec:
    """tokens_spec(language, source=(weight, max_tokens), …); without sources the one that write_corpus writes."""
    return TokensSpec(language=language, sources=mixture(**sources or {"given": (None, None)}), revision=1)


def mixture(**sources: tuple[float | None, int | None]) -> dict[str, MixtureShare]:
    """mixture(source=(weight, max_tokens), …)"""
    return {name: MixtureShare(weight=weight, max_tokens=most) for name, (weight, most) in sources.items()}
