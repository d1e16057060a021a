"""results/scaling.json: loss against the size of the model, and what replay is worth in growth of the model.

Size is the training FLOPs of one token. A curve is fitted to runs that differ in size and seed only: those of one arm,
rate and accounting, and of equal values of what else the sweep varies at one size (ε, k, a learning rate). What goes
with the size, such as its own learning rate, is part of the size. docs/metrics.md has the formulas.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.artifact import canonical_json, read_json, write_json
from palimpsest.errors import ArtifactError
from palimpsest.evaluate import sweep
from palimpsest.evaluate.law import FEWEST, Law, fit, interval

FORMAT = "palimpsest.scaling/1"
REACH = 10.0  # how far beyond the sizes tried a law is followed
WIDE = 10.0  # an interval of the growth that spans more than this factor says nothing
_CURVE_POINTS = 33
# With a rate of 0 an arm that replays is another one.
_WITHOUT_REPLAY = {"replay": "sequential", "mer": "reptile"}

Point = dict[str, Any]


def build(sweep_json: Path, out: Path) -> None:
    """Write results/scaling.json from results/sweep.json; equal points in any order give equal bytes.

    Raises ArtifactError where ``sweep_json`` is missing or of another format. What the data cannot tell is no error: an
    entry says so (``tells`` false) and why.
    """
    value = read_json(sweep_json)
    if value.get("format") != sweep.FORMAT:
        raise ArtifactError(
            f"{sweep_json}: format is {value.get('format')!r}, expected {sweep.FORMAT!r}; run `palimpsest sweep` again"
        )
    points = _points(value["points"])
    groups = _groups(points)
    write_json(
        out,
        {
            "format": FORMAT,
            "points": points,
            "fits": [group.described(measure) for group in groups for measure in group.laws],
            "exchange": [entry for group in groups if group.replays for entry in _exchange(group, groups)],
        },
    )


def _points(swept: Sequence[Any]) -> list[Point]:
    """Every run once, with the values that all points of the sweep agree on which have it: what shaped it."""
    found: dict[str, Point] = {}
    for place in swept:
        for arm, seeds in place["runs"].items():
            for seed, run in seeds.items():
                point = found.setdefault(run["lineage"], _point(arm, int(seed), run, place["values"]))
                point["values"] = _shared(point["values"], place["values"])
    return sorted(found.values(), key=_order)


def _shared(one: Any, other: Any) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key in other and other[key] == value}


def _point(arm: str, seed: int, run: Any, values: Any) -> Point:
    copied = (
        "rate", "accounting", "parameters", "flops_per_token", "flops", "retained_loss", "learned_loss",
    )  # fmt: skip
    name = arm if run["rate"] else _WITHOUT_REPLAY.get(arm, arm)
    return {"arm": name, "seed": seed, "values": values, **{key: run[key] for key in copied}}


def _order(point: Point) -> tuple[Any, ...]:
    kind = (point["arm"], point["rate"], point["accounting"] or "")
    return (*kind, point["flops_per_token"], point["seed"], canonical_json(point["values"]))


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Runs that differ in size and seed only. ``values``: what else the sweep varies and they share."""

    points: list[Point]
    values: dict[str, Any]
    laws: dict[str, Law | None]

    @property
    def head(self) -> dict[str, Any]:
        return {key: self.points[0][key] for key in ("arm", "rate", "accounting")} | {"values": self.values}

    @property
    def replays(self) -> bool:
        return bool(self.points[0]["rate"])

    @property
    def sizes(self) -> dict[float, int]:
        """FLOPs per token → parameters, ascending."""
        return {point["flops_per_token"]: point["parameters"] for point in self.points}

    def training(self, size: float) -> float:
        """FLOPs of a lineage of a size, all its stages: mean over seeds."""
        return statistics.fmean(point["flops"] for point in self.points if point["flops_per_token"] == size)

    def described(self, measure: str) -> dict[str, Any]:
        """An entry of ``fits``."""
        law = self.laws[measure]
        if law is None:
            return self.head | {
                "measure": measure, "law": "", "coefficients": {}, "ci95": {}, "curve": [],
                "tells": False, "why": _too_few(self),
            }  # fmt: skip
        low, high = law.intervals()["b"]
        tells = not low <= 0 <= high
        unclear = f"; the 95 % interval of b, {low:.3g} to {high:.3g}, holds 0: no change with size can be told"
        return self.head | {
            "measure": measure,
            "law": law.text,
            "coefficients": law.coefficients(),
            "ci95": law.intervals(),
            "curve": _curve(law, np.array(list(self.sizes))),
            "tells": tells,
            "why": law.why + ("" if tells else unclear),
        }


def _groups(points: Sequence[Point]) -> list[_Group]:
    """In the order of the points, which are sorted."""
    families = defaultdict(list)
    for point in points:
        families[point["arm"], point["rate"], point["accounting"]].append(point)
    return [group for family in families.values() for group in _split(family)]


def _split(family: Sequence[Point]) -> Iterator[_Group]:
    """A family by the values of the keys that vary at one size."""
    at_size = defaultdict(list)
    for point in family:
        at_size[point["flops_per_token"]].append(point["values"])
    keys = sorted({key for point in family for key in point["values"]})
    free = [key for key in keys if any(len({_value(of, key) for of in same}) > 1 for same in at_size.values())]
    groups = defaultdict(list)
    for point in family:
        groups[tuple(_value(point["values"], key) for key in free)].append(point)
    for _, members in sorted(groups.items()):
        values = {key: members[0]["values"][key] for key in free if key in members[0]["values"]}
        measures = [key for key in ("retained_loss", "learned_loss") if members[0][key] is not None]
        yield _Group(points=members, values=values, laws={measure: _law(members, measure) for measure in measures})


def _value(values: Any, key: str) -> bytes:
    """A value that can be compared and sorted; a key that a point does not set sorts first."""
    return canonical_json(values[key]) if key in values else b""


def _law(points: Sequence[Point], measure: str) -> Law | None:
    if len({point["flops_per_token"] for point in points}) < FEWEST:
        return None
    return fit([(point["flops_per_token"], point["seed"], point[measure]) for point in points])


def _too_few(group: _Group) -> str:
    sizes = len(group.sizes)
    return f"{sizes} size{'s' * (sizes > 1)}; a law and its uncertainty need {FEWEST}"


def _curve(law: Law, sizes: np.ndarray) -> list[dict[str, float]]:
    """The law and its 95 % band between the smallest and the largest size."""
    flops = np.geomspace(sizes[0], sizes[-1], _CURVE_POINTS)
    losses = np.exp(np.clip(law.log_loss(flops), -700, 700))
    bands = [interval(column) for column in losses[1:].T]
    return [
        {"flops_per_token": float(c), "loss": float(loss), "low": low, "high": high}
        for c, loss, (low, high) in zip(flops, losses[0], bands, strict=True)
    ]


def _exchange(group: _Group, groups: Sequence[_Group]) -> Iterator[dict[str, Any]]:
    """An entry for each size: the growth of a model without replay that retains as much."""
    base = _without_replay(group, groups)
    for flops, parameters in group.sizes.items():
        cost = _replay_cost(group, base, flops)
        yield group.head | {
            "at_parameters": parameters,
            "at_flops_per_token": flops,
            "measure": "retained_loss",
            "replay_cost": cost,
            **_growth(group, base, flops, cost),
        }


def _without_replay(group: _Group, groups: Sequence[_Group]) -> _Group | None:
    """The sequential runs that share every setting that the sweep varies for them."""
    alike = [
        other for other in groups
        if other.points[0]["arm"] == "sequential" and other.values.items() <= group.values.items()
    ]  # fmt: skip
    return max(alike, key=lambda other: len(other.values), default=None)


def _replay_cost(group: _Group, base: _Group | None, flops: float) -> float:
    """Training FLOPs of all stages over those without replay: growth is paid in the first stage too, replay is not.

    Where no model of this size was tried without replay, what the later stages alone cost: an upper bound.
    """
    if base is None or flops not in base.sizes:
        return 1 / (1 - group.points[0]["rate"]) if group.points[0]["accounting"] == "add" else 1.0
    return group.training(flops) / base.training(flops)


def _growth(group: _Group, base: _Group | None, flops: float, cost: float) -> dict[str, Any]:
    nothing = {"growth": None, "ci95": None, "tells": False}
    if base is None:
        return nothing | {"why": "the sweep has no model without replay of the same settings"}
    law, without = group.laws["retained_loss"], base.laws["retained_loss"]
    if law is None:
        return nothing | {"why": f"with replay: {_too_few(group)}"}
    if without is None:
        return nothing | {"why": f"without replay: {_too_few(base)}"}
    return _compare(law, without, flops, list(base.sizes), cost)


def _compare(law: Law, without: Law, flops: float, sizes: Sequence[float], cost: float) -> dict[str, Any]:
    """The growth at a size and what it says. ``sizes``: those tried without replay, ascending."""
    limits = sizes[0] / REACH / flops, sizes[-1] * REACH / flops
    logs = without.log_growth(law.log_loss(np.array([flops]))[:, 0], flops)
    with np.errstate(over="ignore"):
        growths = np.clip(np.exp(logs), *limits)
    growth, ends = float(growths[0]), interval(growths[1:])
    unclear = list(_unclear(without, growth, ends, limits))
    if unclear and not ends[0] <= cost <= ends[1]:
        unclear.append(f"yet all of the interval is {'above' if ends[0] > cost else 'below'} what replay costs")
    reach = "within" if sizes[0] <= growth * flops <= sizes[-1] else "extrapolated beyond"
    return {
        "growth": growth if limits[0] < growth < limits[1] else None,
        "ci95": ends,
        "tells": not unclear,
        "why": "; ".join(unclear) or f"{reach} the sizes tried without replay",
    }


def _unclear(without: Law, growth: float, ends: Sequence[float], limits: Sequence[float]) -> Iterator[str]:
    """Why the growth is no number to rely on."""
    if without.intervals()["b"][0] <= 0:
        yield "the loss without replay does not surely fall with size"
    if growth <= limits[0]:
        yield f"< {limits[0]:.3g}: without replay a model {REACH:.0f} times smaller than any tried retains as much"
    elif growth >= limits[1]:
        yield f"> {limits[1]:.3g}: without replay even a model {REACH:.0f} times larger than any tried retains less"
    elif ends[0] <= limits[0] or ends[1] >= limits[1]:
        yield f"the interval reaches {REACH:.0f} times beyond the sizes tried, where it is cut"
    elif ends[1] > WIDE * ends[0]:
        yield f"the interval spans more than a factor of {WIDE:.0f}"
