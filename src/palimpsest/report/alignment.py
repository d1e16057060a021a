"""alignment.csv as lines: how far the gradients of new and of replayed text point the same way, over training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from palimpsest.report.rows import read as read_rows

ALL = "all"  # the group of all weights together
_PER_STAGE = 48  # points kept of each stage: measurements are noisy, so neighbours are averaged and none is left out


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean cosine of a few neighbouring steps of one stage; ``low`` and ``high`` are the seeds' own means there."""

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
    """One arm and group of layers, in the order of training; ``every`` is the measurements in a point at most."""

    arm: str
    group: str
    points: list[Point]
    windows: list[Window]
    every: int

    @property
    def change(self) -> float | None:
        """What an interpolation changes of the cosine, mean over windows and seeds."""
        return fmean(window.after - window.before for window in self.windows) if self.windows else None


_EXPECTED = "arm, seed, stage, step, tokens, at (step, window or interpolated), group and cosine"


@dataclass(frozen=True, kw_only=True)
class _Row:
    arm: str
    seed: str
    stage: str
    step: int
    tokens: int
    at: str
    group: str
    cosine: float


def read(path: Path) -> list[Line]:
    """Every arm and group of alignment.csv, in its order. Raises ArtifactError naming file and line."""
    groups: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in read_rows(path, _row, _EXPECTED):
        groups[row.arm, row.group].append(row)
    return [_line(arm, group, rows) for (arm, group), rows in groups.items()]


def _row(row: dict[str, str]) -> _Row:
    return _Row(
        arm=row["arm"],
        seed=row["seed"],
        stage=row["stage"],
        step=int(row["step"]),
        tokens=int(row["tokens"]),
        at={"step": "step", "window": "window", "interpolated": "interpolated"}[row["at"]],
        group=row["group"],
        cosine=float(row["cosine"]),
    )


def _line(arm: str, group: str, rows: Sequence[_Row]) -> Line:
    stages: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        if row.at == "step":
            stages[row.stage].append(row)
    every = max((_every(found) for found in stages.values()), default=1)
    points = [point for found in stages.values() for point in _points(found)]
    return Line(arm=arm, group=group, points=points, windows=_windows(rows), every=every)


def _every(rows: Iterable[_Row]) -> int:
    return -(-len({row.step for row in rows}) // _PER_STAGE)


def _points(rows: Sequence[_Row]) -> list[Point]:
    """One stage's points, each over ``_every`` neighbouring steps."""
    steps, every = sorted({row.step for row in rows}), _every(rows)
    place = {step: index // every for index, step in enumerate(steps)}
    bins: dict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        bins[place[row.step]].append(row)
    return [_point(bins[index]) for index in sorted(bins)]


def _point(rows: Sequence[_Row]) -> Point:
    seeds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        seeds[row.seed].append(row.cosine)
    means = [fmean(values) for values in seeds.values()]
    return Point(
        stage=rows[0].stage,
        step=round(fmean({row.step for row in rows})),
        tokens=round(fmean({row.tokens for row in rows})),
        mean=fmean(means),
        low=min(means),
        high=max(means),
        seeds=len(means),
    )


def _windows(rows: Iterable[_Row]) -> list[Window]:
    """The windows that have both measurements."""
    pairs: dict[tuple[str, int], dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row.at != "step":
            pairs[row.stage, row.step][row.seed][row.at] = row.cosine
    found = []
    for (stage, step), seeds in pairs.items():
        whole = [pair for pair in seeds.values() if len(pair) == 2]
        if whole:
            before, after = (fmean(pair[at] for pair in whole) for at in ("window", "interpolated"))
            found.append(Window(stage=stage, step=step, before=before, after=after))
    return sorted(found, key=lambda window: window.step)
