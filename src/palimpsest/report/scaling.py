"""scaling.json as typed values: models of several sizes, with and without replay, and the laws fitted to them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.artifact import canonical_json, read_json
from palimpsest.errors import ArtifactError
from palimpsest.report import figures
from palimpsest.report.results import Quantity

FORMAT = "palimpsest.scaling/1"
_SYMBOLS = {"mer.step_size": "ε", "mer.interval": "k"}
MEASURES = ("retained_loss", "learned_loss")

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What runs share that differ in size and seed only; ``values``: what else the sweep varies."""

    arm: str
    rate: float
    accounting: str | None
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Point(Setting):
    """One lineage of the sweep; losses in nats per token, ``flops_per_token`` those of training.

    Its ``values`` are all that the sweep gave it, its size too.
    """

    seed: int
    parameters: int
    flops_per_token: float
    flops: float
    retained_loss: float
    learned_loss: float | None

    def measure(self, name: str) -> float | None:
        return self.retained_loss if name == "retained_loss" else self.learned_loss


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The lineages of a sweep that differ only in their seed; ``name`` is that of their setting."""

    arm: str
    name: str
    parameters: int
    flops: float
    retained: Quantity
    learned: Quantity | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A point of a fitted curve and its bootstrap band."""

    flops_per_token: float
    loss: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Fit(Setting):
    """A law fitted to one setting and measure. ``tells`` is false where the data do not settle it: ``why``."""

    measure: str
    law: str
    coefficients: Mapping[str, float]
    intervals: Mapping[str, Interval]
    curve: list[Place]
    tells: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Exchange(Setting):
    """How much larger (FLOPs per token) a model without replay must be to retain as much as this one."""

    parameters: int
    flops_per_token: float
    measure: str
    growth: float | None
    interval: Interval | None
    replay_cost: float
    tells: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Scaling:
    points: list[Point]
    fits: list[Fit]
    exchange: list[Exchange]

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys([point.arm for point in self.points] + [fit.arm for fit in self.fits]))

    @property
    def seeds(self) -> list[Seeds]:
        """The points with their seeds together, in order of arm, rate and size."""
        groups: dict[tuple[Any, ...], list[Point]] = {}
        for point in self.points:
            key = (point.rate, point.accounting or "", point.parameters, canonical_json(point.values))
            groups.setdefault((self.arms.index(point.arm), *key), []).append(point)
        return [_seeds(self.name(groups[key][0]), groups[key]) for key in sorted(groups)]

    def name(self, of: Setting) -> str:
        """The setting as it is written: the arm, its rate, and what else tells it from others of this sweep."""
        several = len({point.accounting for point in self.points if point.accounting}) > 1
        values = [f"{_SYMBOLS.get(key, key.rpartition('.')[2])} {value}" for key, value in self._values(of).items()]
        said = [figures.series(of.arm, of.rate), *([of.accounting] if several and of.accounting else []), *values]
        return ", ".join(said)

    def _values(self, of: Setting) -> Mapping[str, Any]:
        """Of a point those that its fits have, for the others go with its size."""
        if not isinstance(of, Point):
            return of.values
        found = [
            fit.values
            for fit in self.fits
            if (fit.arm, fit.rate, fit.accounting) == (of.arm, of.rate, of.accounting)
            and all(of.values.get(key) == value for key, value in fit.values.items())
        ]
        return max(found, key=len, default={})


def read(path: Path) -> Scaling:
    """Read scaling.json, or raise ArtifactError naming it and what is wrong."""
    return parse(read_json(path), str(path))


def parse(value: Any, origin: str = "scaling.json") -> Scaling:
    """The typed form of scaling.json's contents."""
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != FORMAT:
        raise ArtifactError(f"{origin}: format is {found!r}, expected {FORMAT!r}; run the scaling analysis again")
    try:
        return Scaling(
            points=[_point(point) for point in value["points"]],
            fits=[_fit(fit) for fit in value["fits"]],
            exchange=[_exchange(entry) for entry in value["exchange"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{origin}: {error!r} where {FORMAT} was expected; run the scaling analysis again"
        ) from None


def _setting(value: Mapping[str, Any]) -> dict[str, Any]:
    accounting = value.get("accounting")
    return {
        "arm": str(value["arm"]),
        "rate": float(value["rate"]),
        "accounting": None if accounting is None else str(accounting),
        "values": dict(value.get("values") or {}),
    }


def _point(value: Mapping[str, Any]) -> Point:
    learned = value["learned_loss"]
    return Point(
        **_setting(value),
        seed=int(value["seed"]),
        parameters=int(value["parameters"]),
        flops_per_token=float(value["flops_per_token"]),
        flops=float(value["flops"]),
        retained_loss=float(value["retained_loss"]),
        learned_loss=None if learned is None else float(learned),
    )


def _fit(value: Mapping[str, Any]) -> Fit:
    if value["measure"] not in MEASURES:
        raise ValueError(f"measure {value['measure']!r}")
    places = [Place(**{key: float(place[key]) for key in Place.__annotations__}) for place in value["curve"]]
    return Fit(
        **_setting(value),
        measure=value["measure"],
        law=str(value["law"]),
        coefficients={name: float(number) for name, number in value["coefficients"].items()},
        intervals={name: _interval(pair) for name, pair in value["ci95"].items()},
        curve=sorted(places, key=lambda place: place.flops_per_token),
        tells=bool(value["tells"]),
        why=str(value["why"]),
    )


def _exchange(value: Mapping[str, Any]) -> Exchange:
    growth, interval = value["growth"], value["ci95"]
    return Exchange(
        **_setting(value),
        parameters=int(value["at_parameters"]),
        flops_per_token=float(value["at_flops_per_token"]),
        measure=str(value["measure"]),
        growth=None if growth is None else float(growth),
        interval=None if interval is None else _interval(interval),
        replay_cost=float(value["replay_cost"]),
        tells=bool(value["tells"]),
        why=str(value["why"]),
    )


def _interval(pair: Any) -> Interval:
    low, high = pair
    return float(low), float(high)


def _seeds(name: str, points: list[Point]) -> Seeds:
    learned = [point.learned_loss for point in points if point.learned_loss is not None]
    return Seeds(
        arm=points[0].arm,
        name=name,
        parameters=points[0].parameters,
        flops=statistics.fmean(point.flops for point in points),
        retained=_quantity([point.retained_loss for point in points]),
        learned=_quantity(learned) if learned else None,
    )


def _quantity(values: list[float]) -> Quantity:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Quantity(mean=statistics.fmean(values), sd=spread, n=len(values))
