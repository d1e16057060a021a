"""Near-duplicates beside datatrove's four MinHash stages: documents a second, and both against the truth.

Same bands, rows and shingle size, one process each, documents in memory, files in a temporary folder. Documents are
pieces of real text with planted copies: near ones, of which a few words were changed, and distant ones, of which many
were. The truth is exact: all pairs of a language by their Jaccard similarity, with shingles that neither side made.

Three runs each, the quickest counts, after one on two documents: it imports, and it loads or compiles our machine code,
which stays on disk. The ratio is the least favourable one: datatrove is given the cheapest splitter that makes our
units, white space (it takes punctuation out before), characters for Japanese. With its own, spaCy's, it is far slower,
and that ratio is printed too.
"""

import argparse
import io
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import zstandard
from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.logging import logger
from datatrove.utils.word_tokenizers import WordTokenizer

from benchmarks import conclude
from palimpsest.corpus.deduplication.document_keys import KeyWriter
from palimpsest.corpus.deduplication.duplicates import find_duplicates
from palimpsest.corpus.deduplication.minhash import MinHasher
from palimpsest.corpus.languages import UNSPACED

_NGRAM, _BANDS, _ROWS = 5, 14, 8
# Of pairs at 0.85 all but 1 % are found, of those at 0.4 less than 1 %. Between, chance decides, on either side.
_THRESHOLD = 0.8
_NEAR, _DISTANT = (0.003, 0.01), (0.15, 0.3)
_PIECE = range(500, 3001)
_OWN_SPLITTER = {"en": "eng_Latn", "fr": "fra_Latn", "de": "deu_Latn", "ar": "arb_Arab", "ja": "jpn_Jpan"}
Find = Callable[[list[str], str, Path], set[int]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Documents that had to go, those of them that went, all that went, and planted copies that were caught."""

    due: int = 0
    right: int = 0
    gone: int = 0
    caught: int = 0

    def __add__(self, other: "Found") -> "Found":
        return Found(**{key: value + getattr(other, key) for key, value in vars(self).items()})


class Units(WordTokenizer):
    """White space for datatrove; characters where we compare by characters."""

    def word_tokenize(self, text: str) -> list[str]:
        return list("".join(text.split())) if self.language in UNSPACED else text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError("MinHash asks for words only")

    span_tokenize = sent_tokenize


def main() -> None:
    """Print the figures of each language and of all."""
    options = arguments(__doc__, documents=400).parse_args()
    logger.disable("datatrove")
    seconds, found, planted, count = np.zeros(3), [Found(), Found()], 0, 0
    for language in options.languages:
        texts, copies = _plant(pieces(options.text, language, options.documents // 2), language)
        clusters = _clusters([_shingles(text, language) for text in texts])
        took, gone = zip(*(_timed(find, texts, language) for find in (_ours, _theirs, _theirs_own)), strict=True)
        found = [one + _score(clusters, copies, went) for one, went in zip(found, gone, strict=False)]
        seconds, planted, count = seconds + took, planted + len(copies), count + len(texts)
        rates = " ".join(f"{len(texts) / taken:,.0f}/s" for taken in took)
        print(f"{language}: {len(texts)} documents; ours, datatrove, with its own splitter: {rates}", flush=True)
    for name, one in zip(("ours", "datatrove"), found, strict=True):
        print(f"{name}: {one.right} of {one.due} due, {one.gone} gone; {one.caught} of {planted} planted caught")
    print(f"over datatrove with its own splitter: {seconds[2] / seconds[0]:,.0f} times")
    ratios = {"docs_per_s_over_datatrove": seconds[1] / seconds[0]}
    for suffix, one in zip(("", "_datatrove"), found, strict=True):
        ratios |= {f"recall{suffix}": one.right / one.due, f"precision{suffix}": one.right / one.gone}
    conclude("dedup", "datatrove 0.10.1 MinHash, four stages, split at white space, one process", count, ratios)


def arguments(description: str | None, documents: int) -> argparse.ArgumentParser:
    """The options of the corpus stage's benchmarks."""
    parser = argparse.ArgumentParser(description=description)
    folder = os.environ.get("PALIMPSEST_TEXT")
    parser.add_argument(
        "--text", type=Path, default=folder, required=folder is None, help="with train/train.*.jsonl.zst"
    )
    parser.add_argument("--languages", nargs="+", default=["en", "fr", "de", "ar", "ja"])
    parser.add_argument("--documents", type=int, default=documents, help="of each language")
    return parser


def pieces(folder: Path, language: str, count: int) -> list[str]:
    """Texts the length of a web page: at most four from a document, since many are novels."""
    return list(islice(_pieces(folder, language), count))


def _pieces(folder: Path, language: str) -> Iterator[str]:
    with zstandard.open(folder / "train" / f"train.{language}.jsonl.zst", "rb") as file:
        for line in io.TextIOWrapper(file, encoding="utf-8"):
            text = json.loads(line)["text"]
            for at in range(0, min(len(text), 4 * _PIECE[-1]), _PIECE[-1]):
                if len(piece := text[at : at + _PIECE[-1]]) in _PIECE:
                    yield piece


def _plant(texts: list[str], language: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The texts and a copy of each in mixed order, and the places of those with their near copies."""
    chance = random.Random(0)
    copies = [_changed(text, chance, language, _DISTANT if at % 2 else _NEAR) for at, text in enumerate(texts)]
    order = list(range(2 * len(texts)))
    chance.shuffle(order)
    place = np.argsort(order).tolist()
    pairs = [(place[at], place[at + len(texts)]) for at in range(0, len(texts), 2)]
    return [[*texts, *copies][at] for at in order], pairs


def _changed(text: str, chance: random.Random, language: str, shares: tuple[float, float]) -> str:
    """The text with a share of its words replaced by new ones; characters where there are no spaces."""
    spaced = language not in UNSPACED
    units = text.split(" ") if spaced else list(text)
    for at in chance.sample(range(len(units)), round(chance.uniform(*shares) * len(units)) or 1):
        units[at] = f"w{chance.randrange(10**9)}" if spaced else chr(chance.randrange(0x4E00, 0x9FFF))
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


def _score(clusters: list[int], copies: list[tuple[int, int]], gone: set[int]) -> Found:
    """One of each cluster is to stay, whichever: we keep the first, datatrove any."""
    sizes = np.bincount(clusters, minlength=len(clusters))
    lost = np.bincount([clusters[at] for at in gone], minlength=len(clusters))
    due = np.maximum(sizes - 1, 0)
    return Found(
        due=int(due.sum()),
        right=int(np.minimum(lost, due).sum()),
        gone=len(gone),
        caught=sum(bool(gone.intersection(pair)) for pair in copies),
    )


def _timed(find: Find, texts: list[str], language: str) -> tuple[float, set[int]]:
    """Seconds of the quickest of three runs, and what they found."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        find(texts[:2], language, Path(folder) / "first")
        for number in range(3):
            began = time.perf_counter()
            gone = find(texts, language, Path(folder) / str(number))
            seconds.append(time.perf_counter() - began)
    return min(seconds), gone


def _ours(texts: list[str], language: str, folder: Path) -> set[int]:
    folder.mkdir()
    bands = MinHasher(language, {"ngram": _NGRAM, "bands": _BANDS, "rows": _ROWS}).band_hashes(texts)
    with KeyWriter(folder, 3 + _BANDS) as keys:
        keys.append(np.hstack((np.zeros((len(texts), 3), np.uint64), bands)))
    return set(np.flatnonzero(find_duplicates([folder], exact=False, bands=_BANDS)).tolist())


def _theirs(texts: list[str], language: str, folder: Path, splitter: WordTokenizer | str | None = None) -> set[int]:
    config = MinhashConfig(n_grams=_NGRAM, num_buckets=_BANDS, hashes_per_bucket=_ROWS)
    signatures, pairs, clusters = (str(folder / name) for name in ("signatures", "pairs", "clusters"))
    documents = [Document(text=text, id=str(at)) for at, text in enumerate(texts)]
    MinhashDedupSignature(signatures, config, splitter or Units(language)).run(documents)
    buckets = MinhashDedupBuckets(signatures, pairs, config=config)
    for bucket in range(_BANDS):
        buckets.run(None, bucket, _BANDS)
    MinhashDedupCluster(pairs, clusters, config).run()
    kept = {int(document.id) for document in MinhashDedupFilter(clusters).run(iter(documents))}
    return set(range(len(texts))) - kept


def _theirs_own(texts: list[str], language: str, folder: Path) -> set[int]:
    return _theirs(texts, language, folder, _OWN_SPLITTER[language])


if __name__ == "__main__":
    main()
