"""The disk space of a run. Checkpoints and shards are counted; text is estimated, since it has not been read yet."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from palimpsest.experiment.inventory import local_files
from palimpsest.file_types import FileType, Format, compression, file_type
from palimpsest.params import Params
from palimpsest.plan.training_stages import TrainingStage
from palimpsest.plan.wall_time import GpuPool
from palimpsest.replay.schedule import ReplaySchedule
from palimpsest.settings.sources import HfSource, SampleSource, Source

# Estimates about text: measured for the sample corpus, conservative for web text.
BYTES_PER_TOKEN = 4.2
MIN_KEPT, MAX_KEPT = 0.6, 0.9  # fraction of the text that cleaning keeps: for tokens, and for disk
COMPRESSION = 0.4  # compressed over plain text
# Bytes of a document, of a line of metrics, of an evaluation and of the report.
_DOCUMENT, _SAMPLE_DOCUMENT = 4_000, 1_200
_METRICS_LINE, _EVALUATION, _REPORT = 250, 1_000_000, 6_000_000

WEIGHTS, MOMENTS = 4, 8  # bytes per parameter in fp32: the weight, and AdamW's two moments


@dataclass(frozen=True, kw_only=True)
class TextSize:
    """The text of a language from source to shards: at most so many bytes, at least so many tokens.

    ``needed``: new tokens that a lineage reads. ``bounded``: whether all sources state their size; if not, they are
    assumed to hold what is needed.
    """

    needed: int
    bounded: bool
    raw: int
    corpus: int
    train_tokens: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class DiskUsage:
    """Bytes of a finished run, and of the checkpoints that exist only during training (``in_flight``)."""

    languages: dict[str, TextSize]
    checkpoints: int
    in_flight: int
    pools: int
    results: int

    @property
    def total(self) -> int:
        text = sum(text.raw + text.corpus + text.shards for text in self.languages.values())
        return text + self.checkpoints + self.in_flight + self.pools + self.results


def disk_usage(
    params: Params, initial_models: int, stages: Sequence[TrainingStage], vocab_size: int, pool: GpuPool
) -> DiskUsage:
    """The disk space of a run from scratch."""
    needed = {
        language: max((stage.text.get(language, 0) for stage in stages), default=0) for language in params.languages
    }
    initial = {next(iter(stage.lineage)).path: stage.size.parameters for stage in stages}
    return DiskUsage(
        languages={
            language: _text_size(params, language, needed[language], vocab_size) for language in params.languages
        },
        checkpoints=sum(WEIGHTS * parameters for parameters in initial.values()) + sum(map(_finished_bytes, stages)),
        in_flight=_in_flight_bytes(params, stages, pool),
        pools=sum(map(_pool_bytes, stages)),
        results=_EVALUATION * (initial_models + len(stages)) + _REPORT,
    )


def _text_size(params: Params, language: str, needed: int, vocab_size: int) -> TextSize:
    sources = params.corpus.sources[language]
    sizes = [_source_bytes(source) for source in sources]
    known, bounded = sum(size or 0 for size in sizes), None not in sizes
    held_out = params.corpus.validation_fraction
    text = known if bounded else max(known, round(needed / (1 - held_out) * BYTES_PER_TOKEN / MIN_KEPT))
    # Sources of unknown size are assumed to share the rest equally.
    each = (text - known) / max(1, sizes.count(None))
    stored = sum(
        each if size is None else size for source, size in zip(sources, sizes, strict=True) if _is_copied(source)
    )
    limits = [source.max_tokens for source in sources]
    limit = math.inf if None in limits else sum(limit or 0 for limit in limits)
    least, most = (min(limit, text * kept / BYTES_PER_TOKEN * (1 - held_out)) for kept in (MIN_KEPT, MAX_KEPT))
    validation = text * MAX_KEPT / BYTES_PER_TOKEN * held_out
    return TextSize(
        needed=needed,
        bounded=bounded,
        raw=round(stored * COMPRESSION),
        corpus=round(text * MAX_KEPT * COMPRESSION),
        train_tokens=round(least),
        shards=round(most + validation) * token_bytes(vocab_size),
    )


def token_bytes(vocab_size: int) -> int:
    """Bytes per token in a shard: uint16 if the vocabulary fits, else int32 (docs/formats.md)."""
    return 2 if vocab_size <= 65_535 else 4


def _is_copied(source: Source) -> bool:
    """True if the raw stage stores a copy of the text; of local files it stores references."""
    return local_files(source) is None or isinstance(source, HfSource)


def _source_bytes(source: Source) -> int | None:
    """Bytes of plain text in a source; None if unknown before it is read."""
    found: int | None = None
    if isinstance(source, SampleSource):
        found = source.documents * _SAMPLE_DOCUMENT
    elif pattern := local_files(source):
        files = [path for path in map(Path, glob.iglob(pattern, recursive=True)) if path.is_file()]
        found = round(sum(_plain_bytes(path) for path in files)) if files else None
    if isinstance(source, HfSource) and (documents := source.max_documents):
        found = min(found or documents * _DOCUMENT, documents * _DOCUMENT)
    if source.max_bytes:
        found = min(found or source.max_bytes, source.max_bytes)
    return found


def _plain_bytes(path: Path) -> float:
    compressed = compression(path.name) or file_type(path.name) == FileType(Format.PARQUET)
    return path.stat().st_size / (COMPRESSION if compressed else 1)


def _finished_bytes(stage: TrainingStage) -> int:
    """Bytes of a finished stage: weights, AdamW's moments and a line of metrics per step."""
    return (WEIGHTS + MOMENTS) * stage.size.parameters + _METRICS_LINE * stage.steps


def _in_flight_bytes(params: Params, stages: Sequence[TrainingStage], pool: GpuPool) -> int:
    """Checkpoints of the largest training runs that fit the GPUs at once; each keeps some and writes one more."""
    keep, interval = params.train.keep_checkpoints, params.train.checkpoint_interval
    each = []
    for stage in stages:
        mer = stage.lineage.training.mer
        anchor = WEIGHTS if mer and mer.step_size != 1 else 0
        checkpoints = min(keep + 1, (stage.steps - 1) // interval)
        each.append((checkpoints * (WEIGHTS + MOMENTS + anchor) * stage.size.parameters, stage.processes))
    total, free = 0, pool.count
    for size, processes in sorted(each, reverse=True):
        if processes <= free:
            total, free = total + size, free - processes
    return total


def _pool_bytes(stage: TrainingStage) -> int:
    """Bytes of a replay pool: a kilobyte; scope ``capacity`` adds 8 bytes per sequence of the reservoir."""
    spec = stage.lineage.training
    if not spec.replay:
        return 0
    if spec.replay.scope != "capacity":
        return 1_000
    past = sum(
        ReplaySchedule.for_budget(past.sequences, batch_size=spec.train.batch_size, replay=past.replay).new
        for past in spec.past
    )
    return 1_000 + 8 * min(int(spec.replay.capacity or 0), past)
