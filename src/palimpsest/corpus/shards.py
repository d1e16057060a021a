"""The second pass: the keys of all units decide on duplicates and the split, and lines are copied to their shards.

Memory: dedup.py's, and 10 bytes a document (verdict, split, bytes of text).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from palimpsest.corpus import dedup
from palimpsest.corpus.read import lines
from palimpsest.corpus.tally import Tally, dropped_entry
from palimpsest.corpus.units import LINES, Units
from palimpsest.corpus.write import ShardWriter
from palimpsest.errors import DataError

SPLITS = ("train", "validation")


@dataclass(frozen=True, kw_only=True)
class _Fates:
    """By document, in the order of the units: what dedup says, whether it is held out, and the bytes of its text."""

    verdicts: NDArray[np.uint8]
    held_out: NDArray[np.bool_]
    bytes: NDArray[np.uint64]


def write_shards(units: Units, corpus: Mapping[str, Any], out: Path, tally: Tally) -> list[Path]:
    """Write ``out``/train and ``out``/validation, and count in ``tally``; the files in order.

    Raises DataError when either split would be empty.
    """
    if not tally.kept:
        if not tally.total.documents_in:
            raise DataError("the sources hold no document; look at corpus.sources")
        raise DataError(f"{tally}; loosen corpus.filters or corpus.min_language_score, or look at the sources")
    bands = corpus["minhash"]["bands"] if corpus["minhash"] else 0
    fates = _Fates(
        verdicts=dedup.verdicts(units.folders, exact=corpus["exact_dedup"], bands=bands),
        held_out=dedup.content_hashes(units.folders) < np.uint64(int(corpus["validation_fraction"] * 2.0**64)),
        bytes=dedup.text_bytes(units.folders),
    )
    _check(fates, corpus["validation_fraction"])
    numbered = enumerate(_lines(units))
    paths = []
    for source, part in groupby(numbered, key=lambda item: item[1][0]):
        own = ((number, line) for number, (_, line) in part)
        paths += _write_source(source, own, fates, out, corpus["shard_mb"] * 10**6, tally)
    return paths


def _lines(units: Units) -> Iterator[tuple[str, bytes]]:
    for folder, source in zip(units.folders, units.sources, strict=True):
        # A unit of which nothing was kept holds no frame.
        if (folder / LINES).stat().st_size:
            for line in lines(folder / LINES):
                yield source, line


def _write_source(
    source: str, numbered: Iterable[tuple[int, bytes]], fates: _Fates, out: Path, shard_bytes: int, tally: Tally
) -> list[Path]:
    """Copy each kept line of one source to its split, and show the duplicates among the dropped."""
    counts = tally.sources[source]
    with ExitStack() as stack:
        train, validation = (stack.enter_context(ShardWriter(out / split / source, shard_bytes)) for split in SPLITS)
        for number, line in numbered:
            if reason := dedup.REASONS.get(int(fates.verdicts[number])):
                document = orjson.loads(line)
                counts.dropped[reason] += 1
                tally.samples.offer(dropped_entry(document["id"], source, reason, document["text"]))
                continue
            split = validation if fates.held_out[number] else train
            split.write(line, int(fates.bytes[number]))
    counts.train, counts.validation = Counter(train.counts()), Counter(validation.counts())
    return [*train.paths, *validation.paths]


def _check(fates: _Fates, fraction: float) -> None:
    held_out = fates.held_out[fates.verdicts == dedup.KEPT]
    if not held_out.any():
        raise DataError(
            f"none of the {len(held_out):,} documents left fell to validation; raise corpus.validation_fraction, "
            f"which is {fraction}, or add documents"
        )
    if held_out.all():
        raise DataError(
            f"all of the {len(held_out):,} documents left fell to validation; lower corpus.validation_fraction, "
            f"which is {fraction}, or add documents"
        )
