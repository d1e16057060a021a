"""The room that a run takes. Checkpoints and shards are counted; text is estimated, since nobody has read it yet."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from palimpsest.experiment.inventory import local_files
from palimpsest.experiment.lineage import Lineage
from palimpsest.file_types import FileType, Format, compression, file_type
from palimpsest.params import Params
from palimpsest.plan.stages import Stage
from palimpsest.plan.wall import Cards
from palimpsest.replay.schedule import Schedule

# Estimates, for want of the text: of the sample corpus as measured, of others on the cautious side of web text.
BYTES_PER_TOKEN = 4.2
KEPT, KEPT_AT_MOST = 0.6, 0.9  # share of the text that cleaning keeps, for tokens and for disk
PACKED = 0.4  # compressed over plain text
_DOCUMENT, _SAMPLE_DOCUMENT = 4_000, 1_200
_METRICS_LINE, _RESULTS, _REPORT = 250, 1_000_000, 6_000_000

WEIGHTS, MOMENTS = 4, 8  # bytes of a parameter in fp32: the weight, and AdamW's two


@dataclass(frozen=True, kw_only=True)
class Text:
    """A language's text on the way to shards: bytes at most, tokens at least. ``needed``: new tokens of a lineage.

    ``bounded``: whether its sources say how much they hold; where not, what is needed is taken for there.
    """

    needed: int
    bounded: bool
    raw: int
    corpus: int
    train_tokens: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes that a finished run holds; ``in_flight`` beside them while trainings are under way."""

    languages: dict[str, Text]
    checkpoints: int
    in_flight: int
    pools: int
    results: int

    @property
    def total(self) -> int:
        text = sum(text.raw + text.corpus + text.shards for text in self.languages.values())
        return text + self.checkpoints + self.in_flight + self.pools + self.results


def disk(params: Params, roots: Sequence[Lineage], stages: Sequence[Stage], vocab_size: int, cards: Cards) -> Disk:
    """What all of it together needs, when nothing is there yet."""
    needed = {
        language: max((stage.needed.get(language, 0) for stage in stages), default=0) for language in params.languages
    }
    initial = {next(iter(stage.lineage)).path: stage.size.parameters for stage in stages}
    return Disk(
        languages={language: _text(params, language, needed[language], vocab_size) for language in params.languages},
        checkpoints=sum(WEIGHTS * parameters for parameters in initial.values()) + sum(map(_finished, stages)),
        in_flight=_in_flight(params, stages, cards),
        pools=sum(map(_pool, stages)),
        results=_RESULTS * (len(roots) + len(stages)) + _REPORT,
    )


def _text(params: Params, language: str, needed: int, vocab_size: int) -> Text:
    sources = params.corpus.sources[language]
    sizes = [_source_bytes(source) for source in sources]
    known, bounded = sum(size or 0 for size in sizes), None not in sizes
    held_out = params.corpus.validation_fraction
    text = known if bounded else max(known, round(needed / (1 - held_out) * BYTES_PER_TOKEN / KEPT))
    # What has no bound of its own shares what the others leave.
    each = (text - known) / max(1, sizes.count(None))
    stored = sum(each if size is None else size for source, size in zip(sources, sizes, strict=True) if _copied(source))
    limits = [source.max_tokens for source in sources]
    limit = math.inf if None in limits else sum(limit or 0 for limit in limits)
    least, most = (min(limit, text * kept / BYTES_PER_TOKEN * (1 - held_out)) for kept in (KEPT, KEPT_AT_MOST))
    validation = text * KEPT_AT_MOST / BYTES_PER_TOKEN * held_out
    return Text(
        needed=needed,
        bounded=bounded,
        raw=round(stored * PACKED),
        corpus=round(text * KEPT_AT_MOST * PACKED),
        train_tokens=round(least),
        shards=round(most + validation) * token_bytes(vocab_size),
    )


def token_bytes(vocab_size: int) -> int:
    """Bytes of a token in a shard: uint16 as far as that reaches, else int32 (docs/formats.md)."""
    return 2 if vocab_size <= 65_535 else 4


def _copied(source: Any) -> bool:
    """Whether stage raw keeps a copy, packed or as it came; of local files it keeps their names."""
    return local_files(source) is None or source.kind == "hf"


def _source_bytes(source: Any) -> int | None:
    """Bytes of plain text that a source gives; None where only a look at it would tell."""
    found: int | None = None
    if source.kind == "sample":
        found = source.documents * _SAMPLE_DOCUMENT
    elif pattern := local_files(source):
        files = [path for path in map(Path, glob.iglob(pattern, recursive=True)) if path.is_file()]
        found = round(sum(_plain(path) for path in files)) if files else None
    if documents := getattr(source, "max_documents", None):
        found = min(found or documents * _DOCUMENT, documents * _DOCUMENT)
    if source.max_bytes:
        found = min(found or source.max_bytes, source.max_bytes)
    return found


def _plain(path: Path) -> float:
    packed = compression(path.name) or file_type(path.name) == FileType(Format.PARQUET)
    return path.stat().st_size / (PACKED if packed else 1)


def _finished(stage: Stage) -> int:
    """A finished stage: weights, AdamW's moments and a line of metrics for each step."""
    return (WEIGHTS + MOMENTS) * stage.size.parameters + _METRICS_LINE * stage.steps


def _in_flight(params: Params, stages: Sequence[Stage], cards: Cards) -> int:
    """Checkpoints of as many trainings as run at once, the largest ones; each keeps some and writes one more."""
    keep, interval = params.train.keep_checkpoints, params.train.checkpoint_interval
    each = []
    for stage in stages:
        mer = stage.lineage.training.mer
        anchor = WEIGHTS if mer and mer.step_size != 1 else 0
        made = min(keep + 1, (stage.steps - 1) // interval)
        each.append((made * (WEIGHTS + MOMENTS + anchor) * stage.size.parameters, stage.processes))
    total, free = 0, cards.count
    for size, processes in sorted(each, reverse=True):
        if processes <= free:
            total, free = total + size, free - processes
    return total


def _pool(stage: Stage) -> int:
    """A plan of a kilobyte; scope ``capacity`` lists the sequences that are held, 8 bytes each."""
    spec = stage.lineage.training
    if not spec.replay:
        return 0
    if spec.replay.scope != "capacity":
        return 1_000
    past = sum(
        Schedule.for_budget(
            past.sequences,
            batch_size=spec.train.batch_size,
            replay_rate=past.replay.rate if past.replay else Decimal(0),
            accounting=past.replay.accounting if past.replay else "add",
        ).new
        for past in spec.past
    )
    return 1_000 + 8 * min(int(spec.replay.capacity or 0), past)
