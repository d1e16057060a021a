"""Samples of text to train and to measure a tokenizer on, and the count of words for its fertility."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from palimpsest.artifact import Manifest
from palimpsest.tokens.corpus_reader import read_texts

logger = logging.getLogger(__name__)

_SHORTEST_PREFIX = 10_000  # characters
# Thai to Burmese, Khmer, and the Chinese and Japanese scripts with their punctuation: written without spaces.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]+")


def count_words(text: str) -> int:
    """The number of words: runs between spaces, or characters in scripts that are written without spaces."""
    return sum(1 for _ in _WORD.finditer(text))


def held_out_texts(corpus: Manifest, budget: int) -> Iterator[str]:
    """The first ``budget`` bytes (rounded up to a document) of the validation split."""
    size = 0
    for path in corpus.paths("validation/"):
        for text in read_texts(path):
            if size >= budget:
                return
            size += len(text.encode())
            yield text


def training_sample(corpus: Manifest, budget: int) -> list[str]:
    """About ``budget`` bytes of the train split, the same number from each shard. Memory: at most twice the budget.

    A document contributes at most a hundredth of the budget (or 10,000 characters), so that no single novel dominates;
    the rest of a long document is used only if the budget is not reached otherwise.
    """
    prefix = max(_SHORTEST_PREFIX, budget // 100)
    paths = corpus.paths("train/")
    sample: list[str] = []
    spare: list[str] = []
    size = spare_size = 0
    for number, path in enumerate(paths, start=1):
        quota = budget * number // len(paths)
        for text in read_texts(path):
            if size >= quota:
                break
            sample.append(text[:prefix])
            size += len(sample[-1].encode())
            if len(text) > prefix and spare_size < budget:
                spare.append(text[prefix : prefix + budget])
                spare_size += len(spare[-1].encode())
    for text in spare:
        if size >= budget:
            break
        sample.append(text[: budget - size])
        size += len(sample[-1].encode())
    logger.info("%s: %.1f of %.1f MB to train the tokenizer on", corpus.folder.name, size / 1e6, budget / 1e6)
    return sample
