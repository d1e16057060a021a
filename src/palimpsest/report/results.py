"""eval_all.json as typed values. What an arm lacks (joint's forgetting, a ledger) is empty or None, never invented."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.artifact import read_json
from palimpsest.errors import ArtifactError

FORMAT = "palimpsest.eval_all/1"
REFERENCE = "joint"  # the arm that sees all languages at once: compared with, but it cannot forget


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A figure over seeds: mean, standard deviation (None for one seed) and the number of seeds."""

    mean: float
    sd: float | None = None
    n: int = 1


Matrix = dict[str, dict[str, Quantity]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A zero-shot task: what it measures, in which language, and what guessing gets."""

    name: str
    language: str | None
    metric: str
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What a stage (or a whole arm) trained on, in tokens and floating-point operations."""

    new: int
    replayed: int
    total: int
    flops: float


@dataclass(frozen=True, kw_only=True)
class Span:
    """The steps of a stage, counted from the start of the lineage, and the share of each batch that is replayed."""

    start: int
    end: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One method over all the stages. ``loss`` is in nats per token; the rows of it and of ``tasks`` are stages."""

    name: str
    stages: list[str]
    loss: Matrix
    bits_per_byte: Matrix
    forgetting: dict[str, Quantity]
    retained: Quantity | None
    learned: Quantity | None
    ledger: Ledger | None
    by_stage: dict[str, Ledger]
    spans: dict[str, Span]
    tasks: Matrix
    lineages: dict[str, list[str]]

    @property
    def final(self) -> dict[str, Quantity]:
        """Loss on each language after the last stage."""
        return self.loss.get(self.stages[-1], {}) if self.stages else {}

    @property
    def is_reference(self) -> bool:
        return self.name == REFERENCE

    def rate(self, stage: str) -> float:
        """The share of each batch of a stage that is replayed; 0 where nothing is."""
        return self.spans[stage].rate if stage in self.spans else 0.0

    @property
    def mean_forgetting(self) -> float | None:
        """Mean of the forgetting over the languages that have one."""
        values = [value.mean for value in self.forgetting.values()]
        return sum(values) / len(values) if values else None


@dataclass(frozen=True, kw_only=True)
class Results:
    """The whole of eval_all.json; ``raw`` keeps what is shown as it stands (params, runs, data)."""

    sample: bool
    languages: list[str]
    arms: list[Arm]
    tasks: list[Task]
    raw: Mapping[str, Any]

    @property
    def seeds(self) -> int:
        return max((len(arm.lineages) for arm in self.arms), default=0)

    @property
    def earlier(self) -> list[str]:
        """The languages that some arm could forget, in the order of training."""
        return [language for language in self.languages if any(language in arm.forgetting for arm in self.arms)]

    @property
    def data(self) -> dict[str, Mapping[str, Any]]:
        """Counts of the text, by language in the order of training."""
        found = self.raw.get("data") or {}
        return {language: found[language] for language in _order(found, self.languages)}

    def arm(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)

    @property
    def rates(self) -> dict[str, list[float]]:
        """Stage → the rates, rising, at which some arm replays in it; stages in which none does are left out."""
        found = {stage: sorted({rate for arm in self.arms if (rate := arm.rate(stage))}) for stage in self.languages}
        return {stage: rates for stage, rates in found.items() if rates}

    def run(self, arm: Arm, stage: str) -> tuple[str, Mapping[str, Any]]:
        """The lineage of the arm's first seed after a stage, and its entry; both empty where that is not known."""
        chain = next(iter(arm.lineages.values()), [])
        path = dict(zip(arm.stages, chain, strict=False)).get(stage, "")
        return path, (self.raw.get("runs") or {}).get(path) or {}

    def interval(self, arm: Arm, stage: str, language: str) -> tuple[float, float] | None:
        """The bootstrap interval over documents of a loss that stands for one seed; several seeds have a spread."""
        loss = arm.loss.get(stage, {}).get(language)
        if loss is None or loss.n != 1:
            return None
        ci95 = ((self.run(arm, stage)[1].get("loss") or {}).get(language) or {}).get("ci95")
        return (float(ci95[0]), float(ci95[1])) if ci95 else None

    def compute(self, arm: Arm) -> float | None:
        """Training FLOPs relative to the sequential arm."""
        base = self.arm("sequential")
        if not (base and base.ledger and base.ledger.flops and arm.ledger):
            return None
        return arm.ledger.flops / base.ledger.flops


def read(path: Path) -> Results:
    """Read eval_all.json, or raise ArtifactError naming it and what is wrong."""
    return parse(read_json(path), str(path))


def parse(value: Any, origin: str = "eval_all.json") -> Results:
    """The typed form of eval_all.json's contents."""
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != FORMAT:
        raise ArtifactError(f"{origin}: format is {found!r}, expected {FORMAT!r}; run the evaluation again")
    try:
        params, tasks = value.get("params") or {}, value.get("tasks") or {}
        return Results(
            sample=bool(value.get("sample")),
            languages=list(value["languages"]),
            arms=[_arm(name, value) for name in _order(value["arms"], params.get("arms") or [])],
            tasks=[
                _task(name, tasks[name]) for name in _order(tasks, (params.get("evaluate") or {}).get("tasks") or [])
            ],
            raw=value,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{origin}: {error!r} where {FORMAT} was expected; run the evaluation again") from None


def _order(names: Iterable[str], wanted: list[str]) -> list[str]:
    """The names as the params list them, for JSON's keys are sorted; names that are not listed come last."""
    return sorted(names, key=lambda name: wanted.index(name) if name in wanted else len(wanted))


def _arm(name: str, results: Mapping[str, Any]) -> Arm:
    value, runs, languages = results["arms"][name], results.get("runs") or {}, list(results["languages"])
    lineages = {str(seed): list(chain) for seed, chain in (value.get("lineages") or {}).items()}
    chain = next(iter(lineages.values()), [])
    forgetting = _quantities(value.get("forgetting") or {})
    tokens, flops = value.get("tokens"), value.get("flops")
    first = [runs[path] for path in chain if path in runs]
    return Arm(
        name=name,
        stages=list(value["stages"]),
        loss={stage: _quantities(row) for stage, row in value["loss"].items()},
        bits_per_byte={stage: _quantities(row) for stage, row in (value.get("bits_per_byte") or {}).items()},
        forgetting={language: forgetting[language] for language in languages if language in forgetting},
        retained=_quantity(value.get("retained_loss")),
        learned=_quantity(value.get("learned_loss")),
        ledger=Ledger(flops=flops, **tokens) if tokens and flops is not None else None,
        by_stage=_stage_ledgers(first),
        spans=_spans(first),
        tasks={stage: _quantities(row) for stage, row in (value.get("tasks") or {}).items()},
        lineages=lineages,
    )


def _task(name: str, value: Mapping[str, Any]) -> Task:
    chance = value.get("chance")
    return Task(
        name=name,
        language=value.get("language"),
        metric=str(value["metric"]),
        chance=None if chance is None else float(chance),
    )


def _quantity(value: Any) -> Quantity | None:
    return Quantity(mean=float(value["mean"]), sd=value.get("sd"), n=value.get("n", 1)) if value else None


def _quantities(row: Mapping[str, Any]) -> dict[str, Quantity]:
    return {key: quantity for key, value in row.items() if (quantity := _quantity(value))}


def _stage_ledgers(chain: list[Mapping[str, Any]]) -> dict[str, Ledger]:
    """By stage, of the first seed: the others differ in the order of the data, not in its amount."""
    return {
        run["stage"]: Ledger(
            new=ledger["new_tokens"],
            replayed=ledger["replayed_tokens"],
            total=ledger["total_tokens"],
            flops=ledger["flops"],
        )
        for run in chain
        if (ledger := run.get("ledger"))
    }


def _spans(chain: list[Mapping[str, Any]]) -> dict[str, Span]:
    found, start = {}, 0
    for run in chain:
        if ledger := run.get("ledger"):
            replay, end = run.get("replay"), start + ledger["steps"]
            found[run["stage"]] = Span(start=start, end=end, rate=float(replay["rate"]) if replay else 0.0)
            start = end
    return found
