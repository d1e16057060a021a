"""A sample of a language's training text, to train a tokenizer on; and the words of a text, to judge one by."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from palimpsest.artifact import Manifest
from palimpsest.tokens.lines import texts

logger = logging.getLogger(__name__)

_SHORTEST_CUT = 10_000  # characters
# Thai to Burmese, Khmer, and the Chinese and Japanese scripts with their punctuation: written without spaces.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]+")


def words(text: str) -> int:
    """Stretches between spaces; in scripts that are written without spaces, characters."""
    return sum(1 for _ in _WORD.finditer(text))


def held_out(corpus: Manifest, budget: int) -> Iterator[str]:
    """The first ``budget`` bytes (rounded up to a document) of the validation split."""
    taken = 0
    for path in corpus.paths("validation/"):
        for text in texts(path):
            if taken >= budget:
                return
            taken += len(text.encode())
            yield text


def training_sample(corpus: Manifest, budget: int) -> list[str]:
    """About ``budget`` bytes of the train split, the same number from each shard, holding at most twice as much.

    A document gives at most a hundredth of the budget (or 10,000 characters), so that one novel is not all of it;
    the rest of long documents is used only where the budget is not reached without.
    """
    cut = max(_SHORTEST_CUT, budget // 100)
    paths = corpus.paths("train/")
    sample: list[str] = []
    spare: list[str] = []
    taken = spared = 0
    for number, path in enumerate(paths, start=1):
        quota = budget * number // len(paths)
        for text in texts(path):
            if taken >= quota:
                break
            sample.append(text[:cut])
            taken += len(sample[-1].encode())
            if len(text) > cut and spared < budget:
                spare.append(text[cut : cut + budget])
                spared += len(spare[-1].encode())
    for text in spare:
        if taken >= budget:
            break
        sample.append(text[: budget - taken])
        taken += len(sample[-1].encode())
    logger.info("%s: %.1f of %.1f MB to train the tokenizer on", corpus.folder.name, taken / 1e6, budget / 1e6)
    return sample
