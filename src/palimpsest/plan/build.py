"""A plan: what a params file asks for, as JSON that ``palimpsest plan --json`` prints and ``table`` shows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from palimpsest.errors import PlanError
from palimpsest.model.devices import PEAK_FLOPS, peak_flops
from palimpsest.params import Params, grid, naming, point_params, read, validate
from palimpsest.plan import disk
from palimpsest.plan.size import vocabulary
from palimpsest.plan.stages import Stage, experiments, stages
from palimpsest.plan.wall import Cards, longest_chain, wall_hours
from palimpsest.settings.base import expand

FORMAT = "palimpsest.plan/1"
Plan = dict[str, Any]


def plan(file: Path, gpu: str, gpus: int | None, mfu: float, folder: Path) -> Plan:
    """The plan of a params file on ``gpus`` cards (as many as one training takes, where None).

    None of the data need be there, nor a given tokenizer. Raises ParamsError and PlanError. A plan that does not fit
    ``folder`` is made all the same: see ``check``.
    """
    values = read(file)
    params = validate(values, str(file))
    vocab_size, told_by = vocabulary(params, "vocab_size" in (values.get("tokenizer") or {}))
    points = [point_params(values, point, str(file)) for point in grid(params.sweep) if point]
    with naming(str(file)):
        arms, swept = experiments(_without_missing_tokenizer(params), points)
    roots, trained = stages(arms, swept, vocab_size)
    cards = _cards(gpu, gpus, mfu, max(stage.processes for stage in trained))
    room = disk.disk(params, roots, trained, vocab_size, cards)
    of_arms, of_sweep = ([stage for stage in trained if bool(stage.arms) == is_arm] for is_arm in (True, False))
    return {
        "format": FORMAT,
        "vocabulary": {"entries": vocab_size, "from": told_by},
        "context_length": params.train.context_length,
        "models": [asdict(size) for size in dict.fromkeys(stage.size for stage in trained)],
        "cards": asdict(cards),
        "stages": [_stage(stage, cards) for stage in trained],
        "arms": _totals(of_arms, cards),
        "sweep": _totals(of_sweep, cards) if of_sweep else None,
        "all": _totals(trained, cards),
        "disk": asdict(room) | {"total": room.total, "folder": str(folder.resolve()), "free": _free(folder)},
    }


def check(made: Plan) -> None:
    """Refuse a plan that does not fit its disk. Raises PlanError."""
    room = made["disk"]
    if room["total"] > room["free"]:
        raise PlanError(
            f"{room['folder']}: the plan needs {room['total'] / 1e9:,.1f} GB of disk, and {room['free'] / 1e9:,.1f} GB "
            "are free (what an earlier run left there is not taken off). Free some, or name another place (--disk); "
            "fewer arms, seeds, train.steps or train.keep_checkpoints need less, and so does corpus.sources.*.max_bytes"
        )


def _without_missing_tokenizer(params: Params) -> Params:
    """A lineage is named by the tokenizer's contents; for one that is not here yet they are left out."""
    if params.tokenizer.path and not Path(expand(params.tokenizer.path)).is_file():
        return replace(params, tokenizer=replace(params.tokenizer, path=None))
    return params


def _cards(gpu: str, gpus: int | None, mfu: float, processes: int) -> Cards:
    peak = peak_flops(gpu)
    if peak is None:
        raise PlanError(f"--gpu {gpu}: its peak is not known; those that are: {', '.join(PEAK_FLOPS)}")
    if not 0 < mfu <= 1:
        raise PlanError(f"--mfu {mfu}: must be above 0 and at most 1; large models reach 0.3 to 0.5")
    count = processes if gpus is None else gpus
    if count < processes:
        raise PlanError(f"--gpus {count}: one training shares {processes} (train.processes); name as many at least")
    return Cards(name=gpu, count=count, peak_flops=peak, mfu=mfu)


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise PlanError(f"--disk {folder}: {error.strerror}; name a folder on the disk that the run will use") from None


def _stage(stage: Stage, cards: Cards) -> dict[str, Any]:
    lineage = stage.lineage
    return {
        "lineage": lineage.path,
        "stage": lineage.stage,
        "seed": lineage.seed,
        "arms": list(stage.arms),
        "model": stage.size.name,
        "parameters": stage.size.parameters,
        "processes": stage.processes,
        "compute_over_budget": stage.total_tokens / stage.budget,
        "steps": stage.steps,
        "new_tokens": stage.new_tokens,
        "replayed_tokens": stage.replayed_tokens,
        "total_tokens": stage.total_tokens,
        "flops": stage.flops,
        "card_hours": cards.hours(stage.flops),
        "wall_hours": cards.of(stage),
    }


def _totals(chosen: Sequence[Stage], cards: Cards) -> dict[str, Any]:
    """Sums over stages; ``wall_hours`` as the workflow would start them, ``busy_hours`` if no card ever waited."""
    flops = sum(stage.flops for stage in chosen)
    hours, lineage = longest_chain(chosen, cards)
    return {
        "stages": len(chosen),
        **{
            name: sum(getattr(stage, name) for stage in chosen)
            for name in ("steps", "new_tokens", "replayed_tokens", "total_tokens")
        },
        "compute_over_budget": sum(stage.total_tokens for stage in chosen) / sum(stage.budget for stage in chosen),
        "flops": flops,
        "card_hours": cards.hours(flops),
        "busy_hours": cards.hours(flops, cards.count),
        "wall_hours": wall_hours(chosen, cards),
        "longest_chain": {"lineage": lineage, "hours": hours},
    }
