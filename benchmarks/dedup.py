"""Near-duplicate removal against datatrove's four MinHash stages: documents per second, recall and precision of both.

Same bands, rows and shingle size, one process each, documents in memory, files in a temporary folder. Documents are
pieces of real text with planted copies: near ones, with a few words changed, and distant ones, with many changed. The
ground truth is exact: all pairs of a language by Jaccard similarity, on shingles computed independently of both sides.

The fastest of three runs counts, after a first run on two documents that imports libraries and loads or compiles our
machine code, which is cached on disk. Two ratios: datatrove with the cheapest splitter that makes our units, white
space (it removes punctuation before), characters for Japanese (``docs_per_s_over_datatrove``), and with its own,
spaCy's, as by default (``docs_per_s_over_datatrove_own_words``). Recall and precision are those of the first two.
"""

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.logging import logger
from datatrove.utils.word_tokenizers import WordTokenizer

from benchmarks import conclude
from benchmarks.real_text import arguments, own_splitter, pieces
from palimpsest.corpus.deduplication.document_keys import KeyWriter
from palimpsest.corpus.deduplication.duplicates import find_duplicates
from palimpsest.corpus.deduplication.minhash import MinHasher
from palimpsest.corpus.languages import UNSPACED
from palimpsest.settings.cleaning import Minhash

_NGRAM, _BANDS, _ROWS = 5, 14, 8
# Of pairs at 0.85 all but 1 % are found, of those at 0.4 less than 1 %. In between, both sides decide at random.
_THRESHOLD = 0.8
_NEAR, _DISTANT = (0.003, 0.01), (0.15, 0.3)
Find = Callable[[list[str], str, Path], set[int]]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Duplicates to remove, those of them removed, all documents removed, and planted copies that were caught."""

    duplicates: int = 0
    correct: int = 0
    removed: int = 0
    caught: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(**{key: value + getattr(other, key) for key, value in vars(self).items()})


class UnitSplitter(WordTokenizer):
    """Splits at white space for datatrove; into characters where we compare by characters."""

    def word_tokenize(self, text: str) -> list[str]:
        return list("".join(text.split())) if self.language in UNSPACED else text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError("MinHash uses words only")

    span_tokenize = sent_tokenize


def main() -> None:
    """Print the measurements of each language and of all."""
    options = arguments(__doc__, documents=400).parse_args()
    logger.disable("datatrove")
    seconds, scores, planted, count = np.zeros(3), [Score(), Score()], 0, 0
    for language in options.languages:
        texts, copies = _plant(pieces(options.text, language, options.documents // 2), language)
        clusters = _clusters([_shingles(text, language) for text in texts])
        took, removed = zip(*(_timed(find, texts, language) for find in (_ours, _theirs, _theirs_own)), strict=True)
        scores = [one + _score(clusters, copies, gone) for one, gone in zip(scores, removed, strict=False)]
        seconds, planted, count = seconds + took, planted + len(copies), count + len(texts)
        rates = ", ".join(f"{len(texts) / taken:,.0f}/s" for taken in took)
        print(f"{language}: {len(texts)} documents; ours, datatrove, with its own words: {rates}", flush=True)
    for name, one in zip(("ours", "datatrove"), scores, strict=True):
        found = f"{one.correct} of {one.duplicates} duplicates in {one.removed} removed"
        print(f"{name}: {found}; {one.caught} of {planted} planted copies caught")
    ratios = {
        "docs_per_s_over_datatrove": seconds[1] / seconds[0],
        "docs_per_s_over_datatrove_own_words": seconds[2] / seconds[0],
    }
    for suffix, one in zip(("", "_datatrove"), scores, strict=True):
        ratios |= {f"recall{suffix}": one.correct / one.duplicates, f"precision{suffix}": one.correct / one.removed}
    conclude("dedup", "datatrove 0.10.1 MinHash, four stages, one process", count, ratios)


def _plant(texts: list[str], language: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The texts and a copy of each in shuffled order, and the indices of each text with its near copy."""
    rng = random.Random(0)
    copies = [_changed(text, rng, language, _DISTANT if at % 2 else _NEAR) for at, text in enumerate(texts)]
    order = list(range(2 * len(texts)))
    rng.shuffle(order)
    index = np.argsort(order).tolist()
    pairs = [(index[at], index[at + len(texts)]) for at in range(0, len(texts), 2)]
    return [[*texts, *copies][at] for at in order], pairs


def _changed(text: str, rng: random.Random, language: str, fractions: tuple[float, float]) -> str:
    """The text with a fraction of its words replaced by new ones; of its characters where there are no spaces."""
    spaced = language not in UNSPACED
    units = text.split(" ") if spaced else list(text)
    for at in rng.sample(range(len(units)), round(rng.uniform(*fractions) * len(units)) or 1):
        units[at] = f"w{rng.randrange(10**9)}" if spaced else chr(rng.randrange(0x4E00, 0x9FFF))
    return (" " if spaced else "").join(units)


def _shingles(text: str, language: str) -> frozenset[tuple[str, ...]]:
    units = list("".join(text.split())) if language in UNSPACED else text.casefold().split()
    return frozenset(tuple(units[at : at + _NGRAM]) for at in range(len(units) - _NGRAM + 1))


def _clusters(sets: list[frozenset[tuple[str, ...]]]) -> list[int]:
    """The cluster of each: all pairs that reach the threshold are joined."""
    cluster = list(range(len(sets)))
    for one, two in combinations(range(len(sets)), 2):
        shared = len(sets[one] & sets[two])
        if shared >= _THRESHOLD * (len(sets[one]) + len(sets[two]) - shared):
            cluster = [cluster[one] if number == cluster[two] else number for number in cluster]
    return cluster


def _score(clusters: list[int], copies: list[tuple[int, int]], removed: set[int]) -> Score:
    """All but one of each cluster are duplicates; we keep the first, datatrove any."""
    sizes = np.bincount(clusters, minlength=len(clusters))
    lost = np.bincount([clusters[at] for at in removed], minlength=len(clusters))
    duplicates = np.maximum(sizes - 1, 0)
    return Score(
        duplicates=int(duplicates.sum()),
        correct=int(np.minimum(lost, duplicates).sum()),
        removed=len(removed),
        caught=sum(bool(removed.intersection(pair)) for pair in copies),
    )


def _timed(find: Find, texts: list[str], language: str) -> tuple[float, set[int]]:
    """Seconds of the fastest of three runs, and the documents that they removed."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        find(texts[:2], language, Path(folder) / "first")
        for number in range(3):
            began = time.perf_counter()
            removed = find(texts, language, Path(folder) / str(number))
            seconds.append(time.perf_counter() - began)
    return min(seconds), removed


def _ours(texts: list[str], language: str, folder: Path) -> set[int]:
    folder.mkdir()
    bands = MinHasher(language, Minhash(ngram=_NGRAM, bands=_BANDS, rows=_ROWS)).band_hashes(texts)
    with KeyWriter(folder, 3 + _BANDS) as keys:
        keys.append(np.hstack((np.zeros((len(texts), 3), np.uint64), bands)))
    return set(np.flatnonzero(find_duplicates([folder], exact=False, bands=_BANDS)).tolist())


def _theirs(texts: list[str], language: str, folder: Path, splitter: WordTokenizer | None = None) -> set[int]:
    config = MinhashConfig(n_grams=_NGRAM, num_buckets=_BANDS, hashes_per_bucket=_ROWS)
    signatures, pairs, clusters = (str(folder / name) for name in ("signatures", "pairs", "clusters"))
    documents = [Document(text=text, id=str(at)) for at, text in enumerate(texts)]
    MinhashDedupSignature(signatures, config, splitter or UnitSplitter(language)).run(documents)
    buckets = MinhashDedupBuckets(signatures, pairs, config=config)
    for bucket in range(_BANDS):
        buckets.run(None, bucket, _BANDS)
    MinhashDedupCluster(pairs, clusters, config).run()
    kept = {int(document.id) for document in MinhashDedupFilter(clusters).run(iter(documents))}
    return set(range(len(texts))) - kept


def _theirs_own(texts: list[str], language: str, folder: Path) -> set[int]:
    return _theirs(texts, language, folder, own_splitter(language))


if __name__ == "__main__":
    main()
