"""Duplicates against planted truth, brute-force Jaccard and a union-find twin."""

from __future__ import annotations

import random
import tracemalloc
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corpus_stage import SENTENCES, CorpusStage, jsonl

from palimpsest.corpus.deduplication import document_keys, duplicates
from palimpsest.settings.cleaning import Minhash

MINHASH = Minhash(ngram=5, bands=14, rows=8)


def documents(texts: list[str]) -> list[dict[str, Any]]:
    return [{"id": f"{number:04d}", "text": text} for number, text in enumerate(texts)]


def test_exact_duplicates_keep_the_first_and_ignore_case_and_space(stage: CorpusStage) -> None:
    texts = [
        *SENTENCES[:50],
        SENTENCES[3].upper(),
        SENTENCES[4].replace(" ", "\n\n", 3),
        SENTENCES[4],
        "Some other text",
    ]
    result = stage.run({"a.jsonl": jsonl(documents(texts))}, exact_dedup=True)
    assert {document["id"] for document in result.kept} == {f"{n:04d}" for n in range(54)} - {"0050", "0051", "0052"}
    assert result.manifest.counts["dropped"] == {"exact_duplicate": 3}
    assert [entry["id"] for entry in result.dropped] == ["0050", "0051", "0052"]


def test_duplicates_are_found_between_files(stage: CorpusStage) -> None:
    files = {"b.jsonl": SENTENCES[:30], "a.jsonl": SENTENCES[20:60], "c.jsonl": SENTENCES[50:70]}
    packed = {
        name: jsonl([{"id": f"{name}{at}", "text": text} for at, text in enumerate(texts)])
        for name, texts in files.items()
    }
    result = stage.run(packed, exact_dedup=True)
    # Files are read in name order, so a.jsonl's copies stay.
    assert sum(document["id"].startswith("a") for document in result.kept) == 40
    assert result.texts == set(SENTENCES[:70])


def variants(text: str, rng: random.Random, changes: int) -> str:
    words = text.split()
    for at in rng.sample(range(len(words)), changes):
        words[at] = f"changed{rng.random()}"
    return " ".join(words)


def word_shingles(text: str) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}


def jaccard(first: str, second: str) -> float:
    one, two = word_shingles(first), word_shingles(second)
    return len(one & two) / len(one | two)


def test_near_duplicates_follow_the_jaccard_similarity(stage: CorpusStage) -> None:
    """The chance to share one of b bands of r rows at similarity s is 1 - (1 - s^r)^b: 0.9997 at 0.9, 0.0009 at 0.3."""
    rng = random.Random(1)
    long = [" ".join(SENTENCES[at : at + 5]) for at in range(0, 300, 5)]
    texts = long + [variants(text, rng, 1 if at % 2 else 30) for at, text in enumerate(long)]
    result = stage.run({"a.jsonl": jsonl(documents(texts))}, minhash=MINHASH)
    dropped = {entry["id"] for entry in result.dropped}
    similar = {number: max(jaccard(texts[number], text) for text in texts[:number]) for number in range(1, len(texts))}
    assert sum(value > 0.9 for value in similar.values()) == 30
    assert sum(value < 0.4 for value in similar.values()) == 89
    assert {f"{number:04d}" for number, value in similar.items() if value > 0.9} == dropped
    assert result.manifest.counts["dropped"] == {"near_duplicate": 30}


def test_share_found_grows_with_similarity_as_the_formula_says(stage: CorpusStage) -> None:
    """About 0.72, where the curve is steepest, some pairs are found and some not, in the share that is expected."""
    rng = random.Random(2)
    long = [" ".join(rng.choices(SENTENCES, k=4)) for _ in range(250)]
    pairs = [(text, variants(text, rng, 6)) for text in long]
    expected = [1 - (1 - jaccard(*pair) ** 8) ** 14 for pair in pairs]
    texts = [text for pair in pairs for text in pair]
    result = stage.run({"a.jsonl": jsonl(documents(texts))}, minhash=MINHASH)
    found = sum(int(entry["id"]) % 2 for entry in result.dropped)
    sigma = float(np.sqrt(sum(p * (1 - p) for p in expected)))
    assert sigma > 3
    # Texts made of the same SENTENCES may join pairs; a fifth of the run is allowed for it.
    assert sum(expected) - 4 * sigma < found < sum(expected) + 4 * sigma + 50


def test_japanese_near_duplicates_are_compared_by_characters(stage: CorpusStage) -> None:
    rng = random.Random(3)
    kana = [chr(code) for code in range(0x3042, 0x3094)] + list("山川田人木水火土金日月年大小中上下左右")
    bases = ["".join(rng.choice(kana) for _ in range(300)) for _ in range(40)]
    copies = [text[:100] + "新" + text[100:] for text in bases[:15]]
    texts = bases + copies
    result = stage.run({"a.jsonl": jsonl(documents(texts))}, language="ja", minhash=MINHASH)
    assert {entry["id"] for entry in result.dropped} == {f"{number:04d}" for number in range(40, 55)}


def components(rows: list[list[int]]) -> list[int]:
    """The first document of each document's cluster, by comparing all pairs."""
    parent = list(range(len(rows)))

    def find(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for one, two in combinations(range(len(rows)), 2):
        if any(a == b for a, b in zip(rows[one], rows[two], strict=True)):
            low, high = sorted((find(one), find(two)))
            parent[high] = low
    return [find(at) for at in range(len(rows))]


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), *[st.integers(0, 12)] * 3), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.data(), st.booleans())
def test_verdicts_equal_all_pairs_comparison(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]], data: st.DataObject, exact: bool
) -> None:
    """However the documents are divided among folders, and columns are cut into passes and reads."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    folders = write_keys(tmp_path_factory.mktemp("keys"), [[high, low, 10, *bands] for high, low, *bands in rows], cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_PASS_DOCUMENTS", data.draw(st.integers(1, 50)))
        patch.setattr(document_keys, "_READ_DOCUMENTS", data.draw(st.integers(1, 50)))
        if data.draw(st.booleans()):
            # As with more documents than 32 bits can number.
            patch.setattr(duplicates, "_document_numbers", lambda count: np.arange(count, dtype=np.uint64))
        verdicts = duplicates.find_duplicates(folders, exact=exact, bands=3).tolist()
    first_seen: dict[tuple[int, int], int] = {}
    copies = [exact and first_seen.setdefault((high, low), at) != at for at, (high, low, *_) in enumerate(rows)]
    left = [at for at in range(len(rows)) if not copies[at]]
    roots = components([list(rows[at][2:]) for at in left])
    near = {left[at] for at, root in enumerate(roots) if root != at}
    assert verdicts == [
        duplicates.EXACT if copies[at] else duplicates.NEAR if at in near else duplicates.KEPT
        for at in range(len(rows))
    ]


def test_a_long_chain_is_one_cluster(tmp_path: Path) -> None:
    """Neighbours share a band, ends share none: document n has buckets n and n + 1, told in a shuffled order."""
    order = list(range(400))
    random.Random(5).shuffle(order)
    folders = write_keys(
        tmp_path, [[at, 0, 1, (link + 1) // 2, 10_000 + link // 2] for at, link in enumerate(order)], [150]
    )
    verdicts = duplicates.find_duplicates(folders, exact=False, bands=2)
    assert verdicts.tolist() == [duplicates.KEPT] + [duplicates.NEAR] * 399


def test_columns_are_read_through_the_folders_in_order(tmp_path: Path) -> None:
    folders = write_keys(tmp_path, [[at, at, 100 + at] for at in range(20)], [0, 7, 7])
    assert duplicates.content_hashes(folders).tolist() == list(range(20))
    assert duplicates.text_bytes(folders).tolist() == list(range(100, 120))
    assert duplicates.content_hashes(folders[::-1]).tolist() == [*range(7, 20), *range(7)]


def test_no_documents(tmp_path: Path) -> None:
    for folders in (write_keys(tmp_path, [], []), []):
        assert duplicates.find_duplicates(folders, exact=True, bands=2).tolist() == []
        assert duplicates.text_bytes(folders).tolist() == []


def test_memory_grows_by_five_bytes_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_PASS_DOCUMENTS", 60_000)
    monkeypatch.setattr(document_keys, "_READ_DOCUMENTS", 1 << 14)
    rng, sizes, peaks = np.random.default_rng(0), (60_000, 60_000, 600_000), []
    for number, size in enumerate(sizes):
        folder = tmp_path / str(number)
        folder.mkdir()
        with document_keys.KeyWriter(folder, 4) as writer:
            writer.append(rng.integers(0, 1 << 63, (size, 4), np.uint64))
        # NumPy tells tracemalloc of its arrays. The first run loads the compiled code.
        tracemalloc.start()
        duplicates.find_duplicates([folder], exact=True, bands=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 4.5 < (peaks[2] - peaks[1]) / (sizes[2] - sizes[1]) < 5.5
    assert peaks[1] < sizes[1] * (5 + 40) + (1 << 20)


def write_keys(folder: Path, keys: list[list[int]], cuts: list[int]) -> list[Path]:
    """The keys in folders, cut before the documents ``cuts``; each folder is written in two pieces."""
    folders = []
    for number, (start, end) in enumerate(pairwise([0, *cuts, len(keys)])):
        folders.append(folder / str(number))
        folders[-1].mkdir(exist_ok=True)
        rows = np.array(keys[start:end], np.uint64).reshape(end - start, len(keys[0]) if keys else 5)
        with document_keys.KeyWriter(folders[-1], rows.shape[1]) as writer:
            writer.append(rows[:2])
            writer.append(rows[2:])
    return folders
