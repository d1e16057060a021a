"""The corpus stage as a whole: reads, cleans, deduplicates and splits one language's documents, and writes shards.

Two passes. The first sends batches of records through the workers in input order, and writes what passed the rules into
segments in ``out/.work`` (segments.py): a killed run resumes after its last finished one. The second
(deduplicate_and_split.py) drops duplicates, splits off validation and writes the shards; it starts from scratch.
Memory: two batches per worker, and what deduplication/duplicates.py states per document.
"""

from __future__ import annotations

import glob
import logging
import shutil
from pathlib import Path

import numpy as np

from palimpsest.artifact import MANIFEST, atomic_file, fingerprint, read_manifest, write_manifest
from palimpsest.codec import encode, fingerprint_fields
from palimpsest.corpus.cleaning.cleaner import CleaningRules, Columns, contamination_ngram, key_columns
from palimpsest.corpus.cleaning.decontamination import evaluation_hashes
from palimpsest.corpus.cleaning.dropped_documents import DroppedSample
from palimpsest.corpus.cleaning_workers import clean_batches
from palimpsest.corpus.deduplicate_and_split import SPLITS, deduplicate_and_split
from palimpsest.corpus.reading.batch_stream import BatchStream
from palimpsest.corpus.reading.source_files import SourceFiles, source_files
from palimpsest.corpus.segments import Segments
from palimpsest.corpus.shard_writer import write_dropped
from palimpsest.corpus.statistics import CorpusStatistics, SourceStatistics
from palimpsest.errors import DataError
from palimpsest.progress import Progress
from palimpsest.settings.base import expand
from palimpsest.settings.cleaning import Decontamination
from palimpsest.specs.data import CorpusSpec

logger = logging.getLogger(__name__)

STAGE = "corpus"
_WORK = ".work"
_DROPPED = "dropped.jsonl.zst"


def build_corpus(spec: CorpusSpec, raw: Path, out: Path, workers: int = 1) -> None:
    """Clean the raw folder of one language into ``out``; the bytes do not depend on ``workers``.

    Raises DataError for a file that cannot be read (unless ``on_bad_file`` is skip), or when no document remains for
    training or validation; ArtifactError for an unfinished ``raw``.
    """
    raw_manifest = read_manifest(raw, "raw")
    sources = source_files(spec.sources, raw_manifest)
    _remove_second_pass(out)
    work = _work_folder(out, fingerprint([_first_pass_fields(spec), raw_manifest.digest]))
    statistics = CorpusStatistics(sources={source.name: SourceStatistics() for source in sources})
    sample = DroppedSample()
    segments = _first_pass(spec, sources, work, workers, statistics, sample)
    paths = deduplicate_and_split(segments, spec, out, statistics, sample)
    write_dropped(out / _DROPPED, sample.documents())
    logger.info("%s", statistics)
    write_manifest(
        out,
        stage=STAGE,
        params=fingerprint_fields(spec),
        inputs={"raw": raw_manifest},
        files=[*paths, out / _DROPPED],
        counts=encode(statistics.total) | encode(statistics),
    )
    shutil.rmtree(work)


def _remove_second_pass(out: Path) -> None:
    """Remove what an earlier run left of the second pass; the manifest first, since it marks the rest as complete."""
    (out / MANIFEST).unlink(missing_ok=True)
    for folder in SPLITS:
        shutil.rmtree(out / folder, ignore_errors=True)
    for file in (out / _DROPPED, *out.glob(".*.tmp")):
        file.unlink(missing_ok=True)


def _first_pass_fields(spec: CorpusSpec) -> dict[str, object]:
    """Excludes what only the second pass reads, and ``on_bad_file``: an edit of these must not repeat the cleaning."""
    later = ("validation_fraction", "shard_mb", "on_bad_file")
    return {key: value for key, value in fingerprint_fields(spec).items() if key not in later}


def _work_folder(out: Path, input_hash: str) -> Path:
    """The folder of the first pass; that of an earlier run if it had the same rules and input."""
    work = out / _WORK
    mark = work / f"fingerprint-{input_hash}"
    if not mark.is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        mark.touch()
    return work


def _first_pass(
    spec: CorpusSpec,
    sources: list[SourceFiles],
    work: Path,
    workers: int,
    statistics: CorpusStatistics,
    sample: DroppedSample,
) -> Segments:
    rules = CleaningRules(
        language=spec.language,
        cleaning=spec.cleaning,
        columns={source.name: Columns(text=source.text_column, id=source.id_column) for source in sources},
        evaluation=_hash_evaluation_sets(spec.language, spec.cleaning.decontamination, work),
    )
    segments = Segments(work / "segments", key_columns(spec.cleaning.minhash), statistics, sample)
    if segments.finished:
        logger.info("%s: resuming after %d finished segments", spec.language, len(segments.finished))
    stream = BatchStream(sources, skip_bad=spec.on_bad_file == "skip")
    documents = kept = 0
    with Progress(spec.language, total=stream.bytes, unit="bytes", start=None) as progress:
        for cleaned in segments.extend(clean_batches(stream.items(segments.next), rules, workers, stream.bytes)):
            if cleaned.result is not None:
                documents += cleaned.result.documents
                kept += len(cleaned.result.keys)
                note = f"{documents:,} documents, {kept / max(documents, 1):.0%} kept"
                progress.update(cleaned.item.bytes_done, note)
    return segments


def _hash_evaluation_sets(language: str, settings: Decontamination | None, work: Path) -> Path | None:
    """Hashes of the n-grams of all evaluation sets, in a file that workers map into memory."""
    if settings is None:
        return None
    path = work / "evaluation.npy"
    if not path.is_file():
        found = {name for pattern in settings.paths for name in glob.iglob(expand(pattern), recursive=True)}
        paths = [path for path in map(Path, sorted(found)) if path.is_file()]
        if not paths:
            raise DataError(f"corpus.decontamination.paths: {list(settings.paths)} match no file")
        hashes = evaluation_hashes(paths, language, contamination_ngram(language, settings))
        with atomic_file(path) as file:
            np.save(file, hashes)
    return path
