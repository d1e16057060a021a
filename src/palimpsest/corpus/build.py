"""The corpus stage as a whole: read, clean, deduplicate, split, write.

Two passes. The first sends batches of records through the workers in input order, and keeps what passed the rules in
units in ``out/.work`` (units.py): a killed run goes on after its last finished one. The second (shards.py) decides on
duplicates and the split and writes the shards; it starts over. Memory: two batches a worker, and what dedup.py says a
document.
"""

from __future__ import annotations

import glob
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.artifact import MANIFEST, atomic_file, fingerprint, read_manifest, write_manifest
from palimpsest.corpus.clean import Rules, key_columns, shared_run
from palimpsest.corpus.contamination import evaluation_hashes
from palimpsest.corpus.pool import clean_all
from palimpsest.corpus.progress import Progress
from palimpsest.corpus.shards import SPLITS, write_shards
from palimpsest.corpus.sources import Source, sources
from palimpsest.corpus.stream import Stream
from palimpsest.corpus.tally import Tally
from palimpsest.corpus.units import Units
from palimpsest.corpus.write import write_lines
from palimpsest.errors import DataError
from palimpsest.paths import expand
from palimpsest.recipe import placeless

logger = logging.getLogger(__name__)

STAGE = "corpus"
_WORK = ".work"
_DROPPED = "dropped.jsonl.zst"
_IDENTITY = "fingerprint"


def build(spec: dict[str, Any], raw: Path, out: Path, workers: int = 1) -> None:
    """Clean the raw folder of one language into ``out``; the bytes do not depend on ``workers``.

    ``spec`` is recipe.corpus. Raises DataError for a file that cannot be read (unless corpus.on_bad_file is skip), or
    when no document is left for training or validation; ArtifactError for an unfinished ``raw``.
    """
    raw_manifest = read_manifest(raw, "raw")
    given = sources(spec, raw_manifest)
    kept_params = placeless(spec)
    _clear(out)
    work = _work(out, fingerprint([_first_pass_params(kept_params), raw_manifest.digest]))
    tally = Tally([source.name for source in given])
    units = _first_pass(spec, given, work, workers, tally)
    paths = write_shards(units, spec["corpus"], out, tally)
    write_lines(out / _DROPPED, tally.samples.shown())
    logger.info("%s", tally)
    write_manifest(
        out,
        stage=STAGE,
        params=kept_params,
        inputs={"raw": raw_manifest},
        files=[*paths, out / _DROPPED],
        counts=tally.plain(),
    )
    shutil.rmtree(work)


def _clear(out: Path) -> None:
    """Take away what an earlier or killed run left of the second pass. The manifest first: it vouches for the rest."""
    (out / MANIFEST).unlink(missing_ok=True)
    for folder in SPLITS:
        shutil.rmtree(out / folder, ignore_errors=True)
    for file in (out / _DROPPED, *out.glob(".*.tmp")):
        file.unlink(missing_ok=True)


def _first_pass_params(params: dict[str, Any]) -> dict[str, Any]:
    """Without what only the second pass uses, and without what to do on an error: who mends it need not clean anew."""
    later = ("validation_fraction", "shard_mb", "on_bad_file")
    return params | {"corpus": {key: value for key, value in params["corpus"].items() if key not in later}}


def _work(out: Path, identity: str) -> Path:
    """The folder of the first pass; an earlier one's if that was to do the same from the same."""
    work = out / _WORK
    mark = work / f"{_IDENTITY}-{identity}"
    if not mark.is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        mark.touch()
    return work


def _first_pass(spec: dict[str, Any], given: list[Source], work: Path, workers: int, tally: Tally) -> Units:
    corpus = spec["corpus"]
    rules = Rules(
        language=spec["language"],
        corpus=corpus,
        columns={source.name: (source.text, source.id) for source in given},
        evaluation=_evaluation(spec, work) if corpus["decontamination"] else None,
    )
    units = Units(work / "units", key_columns(corpus["minhash"]), tally)
    if units.folders:
        logger.info("%s: went on after %d finished units", spec["language"], len(units.folders))
    stream = Stream(given, skip_bad=corpus["on_bad_file"] == "skip")
    progress = Progress(spec["language"], stream.bytes)
    for task, result in units.extend(clean_all(stream.tasks(units.next), rules, workers, stream.bytes)):
        if result is not None:
            progress.show(task.done, result.documents, len(result.keys))
    return units


def _evaluation(spec: dict[str, Any], work: Path) -> Path:
    """Hashes of the runs of words of all evaluation sets, in a file that workers map."""
    path, settings = work / "evaluation.npy", spec["corpus"]["decontamination"]
    if not path.is_file():
        found = {name for pattern in settings["paths"] for name in glob.iglob(expand(pattern), recursive=True)}
        paths = [path for path in map(Path, sorted(found)) if path.is_file()]
        if not paths:
            raise DataError(f"corpus.decontamination.paths: {settings['paths']} match no file")
        hashes = evaluation_hashes(paths, spec["language"], shared_run(spec["language"], settings))
        with atomic_file(path) as file:
            np.save(file, hashes)
    return path
