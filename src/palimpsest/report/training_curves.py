"""The CSV files of what was measured during training, as lines: one value over steps, mean and range over the seeds."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from palimpsest.errors import ArtifactError

K = TypeVar("K", str, int, tuple[str, str])
ALL_WEIGHTS = "all"  # the group of all weights together in alignment.csv
_MAX_POINTS = 96  # of a line: a panel is about 220 pixels wide
_MAX_PER_STAGE = 48  # of a cosine: measurements are noisy, so neighbours are averaged and none is left out
_LOSS_COLUMNS = "arm, stage, language, step, tokens and loss"
_COSINE_COLUMNS = "arm, seed, stage, step, tokens, at (step, window or interpolated), group and cosine"


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean over seeds, with the lowest and highest seed. Steps and tokens count from the start of the lineage."""

    stage: str
    step: int
    tokens: int
    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """The cosine on one batch just before and just after a MER window's interpolation, mean over seeds."""

    stage: str
    step: int
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """One arm and series (a language, or a group of layers), in the order of training.

    ``per_point``: how many neighbouring measurements a point averages at most.
    """

    arm: str
    series: str
    points: list[Point]
    windows: list[Window]
    per_point: int = 1

    @property
    def stage_ends(self) -> list[Point]:
        """The last point of every stage."""
        return list({point.stage: point for point in self.points}.values())


@dataclass(frozen=True, kw_only=True)
class _Record:
    arm: str
    seed: str
    stage: str
    step: int
    tokens: int
    at: str
    series: str
    value: float


_LINE, _STAGE = attrgetter("arm", "series"), attrgetter("stage")


def read_loss_curves(path: Path) -> list[Line]:
    """loss_curves.csv: a line for every arm and language, thinned. Raises ArtifactError naming file and line."""
    lines = []
    for (arm, language), records in _grouped(_read(path, "language", "loss", _LOSS_COLUMNS), _LINE).items():
        stages = _grouped(records, _STAGE)
        order = sorted(stages, key=lambda stage: max(record.step for record in stages[stage]))
        points = [point for stage in order for point in _points(stages[stage], 1)]
        lines.append(Line(arm=arm, series=language, points=_thin(points), windows=[]))
    return lines


def read_gradient_cosines(path: Path) -> list[Line]:
    """alignment.csv: a line for every arm and group of layers. Raises ArtifactError naming file and line."""
    lines = []
    for (arm, group), records in _grouped(_read(path, "group", "cosine", _COSINE_COLUMNS), _LINE).items():
        stages = _grouped([record for record in records if record.at == "step"], _STAGE)
        most = max(min(_MAX_PER_STAGE, _MAX_POINTS // max(len(stages), 1)), 1)
        bins = {stage: -(-len({r.step for r in found}) // most) for stage, found in stages.items()}
        points = [point for stage, found in stages.items() for point in _points(found, bins[stage])]
        per_point = max(bins.values(), default=1)
        lines.append(Line(arm=arm, series=group, points=points, windows=_windows(records), per_point=per_point))
    return lines


def _read(path: Path, series: str, value: str, expected: str) -> Iterator[_Record]:
    """The records whose value is a number: a run that diverged leaves NaN, which no chart can show."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            for row in table:
                try:
                    record = _record(row, series, value)
                except (KeyError, TypeError, ValueError):
                    where = f"{path}:{table.line_num}"
                    raise ArtifactError(f"{where}: expected {expected}, found {row}; evaluate again") from None
                if math.isfinite(record.value):
                    yield record
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; run the evaluation, which writes it") from None


def _record(row: dict[str, str], series: str, value: str) -> _Record:
    known = {"step": "step", "window": "window", "interpolated": "interpolated"}
    return _Record(
        arm=row["arm"],
        seed=row["seed"],
        stage=row["stage"],
        step=int(row["step"]),
        tokens=int(row["tokens"]),
        at=known[row["at"]] if series == "group" else "step",
        series=row[series],
        value=float(row[value]),
    )


def _grouped(records: Iterable[_Record], key: Callable[[_Record], K]) -> dict[K, list[_Record]]:
    groups: dict[K, list[_Record]] = defaultdict(list)
    for record in records:
        groups[key(record)].append(record)
    return groups


def _points(records: Sequence[_Record], per_point: int) -> list[Point]:
    """One stage's points in order, each over ``per_point`` neighbouring steps."""
    steps = sorted({record.step for record in records})
    bin_of = {step: index // per_point for index, step in enumerate(steps)}
    return [_point(found) for _, found in sorted(_grouped(records, lambda record: bin_of[record.step]).items())]


def _point(records: Sequence[_Record]) -> Point:
    means = [fmean(r.value for r in found) for found in _grouped(records, attrgetter("seed")).values()]
    return Point(
        stage=records[0].stage,
        step=round(fmean({record.step for record in records})),
        tokens=round(fmean({record.tokens for record in records})),
        mean=fmean(means),
        low=min(means),
        high=max(means),
        seeds=len(means),
    )


def _thin(points: list[Point]) -> list[Point]:
    """At most about _MAX_POINTS points; those on either side of a stage boundary always stay."""
    every, last = -(-len(points) // _MAX_POINTS), len(points) - 1
    return [
        point
        for index, point in enumerate(points)
        if index % every == 0
        or index == last
        or points[index + 1].stage != point.stage
        or points[index - 1].stage != point.stage
    ]


def _windows(records: Iterable[_Record]) -> list[Window]:
    """The windows that have both measurements, in order."""
    pairs: dict[tuple[str, int], dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.at != "step":
            pairs[record.stage, record.step][record.seed][record.at] = record.value
    found = []
    for (stage, step), seeds in pairs.items():
        complete = [pair for pair in seeds.values() if len(pair) == 2]
        if complete:
            before, after = (fmean(pair[at] for pair in complete) for at in ("window", "interpolated"))
            found.append(Window(stage=stage, step=step, before=before, after=after))
    return sorted(found, key=lambda window: window.step)
