"""loss_curves.csv as lines: the validation loss of one language over the training of one arm."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from palimpsest.report.rows import read as read_rows

_POINTS = 96  # kept of each line: a panel is about 220 pixels wide, and a page at the paper's scale stays under 0.7 MB


@dataclass(frozen=True, kw_only=True)
class Point:
    """A validation loss (nats per token) over seeds; steps and tokens count from the start of the lineage.

    ``progress`` is the number of finished stages plus the finished share of the stage under way.
    """

    stage: str
    step: int
    tokens: int
    progress: float
    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """The points of one arm and language, in the order of training."""

    arm: str
    language: str
    points: list[Point]

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(point.stage for point in self.points))

    @property
    def boundaries(self) -> list[Point]:
        """The last point of every stage."""
        pairs = zip(self.points, self.points[1:], strict=False)
        return [here for here, after in pairs if here.stage != after.stage] + self.points[-1:]


_Row = tuple[str, str, str, int, int, float]  # arm, language, stage, step, tokens, loss


def read(path: Path) -> list[Line]:
    """Every line of loss_curves.csv, thinned to what can be seen. Raises ArtifactError naming file and line."""
    groups: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in read_rows(path, _row, "arm, stage, language, step, tokens and loss"):
        groups[row[:2]].append(row)
    ends = _stage_ends(groups)
    return [
        Line(arm=arm, language=language, points=_thin(_points(rows, ends[arm])))
        for (arm, language), rows in groups.items()
    ]


def _row(row: dict[str, str]) -> _Row:
    return row["arm"], row["language"], row["stage"], int(row["step"]), int(row["tokens"]), float(row["loss"])


def _stage_ends(groups: dict[tuple[str, str], list[_Row]]) -> dict[str, dict[str, int]]:
    """Arm → stage, in order → its last step, over all languages and seeds."""
    ends: dict[str, dict[str, int]] = defaultdict(dict)
    for (arm, _), rows in groups.items():
        for _, _, stage, step, _, _ in rows:
            ends[arm][stage] = max(step, ends[arm].get(stage, 0))
    return {arm: dict(sorted(stages.items(), key=lambda item: item[1])) for arm, stages in ends.items()}


def _points(rows: list[_Row], ends: dict[str, int]) -> list[Point]:
    places: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for _, _, stage, step, tokens, loss in rows:
        places[stage, step, tokens].append(loss)
    order = list(ends)
    points = []
    for (stage, step, tokens), losses in places.items():
        index = order.index(stage)
        start = ends[order[index - 1]] if index else 0
        points.append(
            Point(
                stage=stage,
                step=step,
                tokens=tokens,
                progress=index + (step - start) / max(ends[stage] - start, 1),
                mean=sum(losses) / len(losses),
                low=min(losses),
                high=max(losses),
                seeds=len(losses),
            )
        )
    return sorted(points, key=lambda point: (order.index(point.stage), point.step))


def _thin(points: list[Point]) -> list[Point]:
    """At most about _POINTS points; those on either side of a stage boundary always stay."""
    every = -(-len(points) // _POINTS)
    last = len(points) - 1
    return [
        point
        for index, point in enumerate(points)
        if index % every == 0
        or index == last
        or points[index + 1].stage != point.stage
        or points[index - 1].stage != point.stage
    ]
