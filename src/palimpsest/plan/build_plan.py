"""Builds the plan of a params file, before anything runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from palimpsest.errors import PlanError
from palimpsest.model.devices import PEAK_FLOPS, peak_flops
from palimpsest.params import Params, grid, naming, point_params, read, validate
from palimpsest.plan.disk_usage import disk_usage
from palimpsest.plan.model_size import find_vocabulary_size
from palimpsest.plan.run_plan import Chain, DiskPlan, RunPlan, StageCost, TotalCost, Vocabulary
from palimpsest.plan.training_stages import TrainingStage, plan_lineages, training_stages
from palimpsest.plan.wall_time import GpuPool, longest_chain, schedule_hours
from palimpsest.settings.base import expand


def build_plan(file: Path, gpu: str, gpus: int | None, mfu: float, folder: Path) -> RunPlan:
    """The plan of a params file on ``gpus`` GPUs (None: as many as one run uses), on the disk of ``folder``.

    Neither the data nor a pretrained tokenizer has to exist. Raises ParamsError and PlanError, but not for a plan that
    does not fit the disk: see ``check_disk_space``.
    """
    values = read(file)
    params = validate(values, str(file))
    vocab_size, vocab_source = find_vocabulary_size(params, "vocab_size" in (values.get("tokenizer") or {}))
    points = [point_params(values, point, str(file)) for point in grid(params.sweep) if point]
    with naming(str(file)):
        arms, swept = plan_lineages(_without_missing_tokenizer(params), points)
    roots, stages = training_stages(arms, swept, vocab_size)
    pool = _gpu_pool(gpu, gpus, mfu, max(stage.processes for stage in stages))
    usage = disk_usage(params, len(roots), stages, vocab_size, pool)
    of_arms, of_sweep = ([stage for stage in stages if bool(stage.arms) == is_arm] for is_arm in (True, False))
    return RunPlan(
        vocabulary=Vocabulary(entries=vocab_size, source=vocab_source),
        context_length=params.train.context_length,
        models=tuple(dict.fromkeys(stage.size for stage in stages)),
        gpus=pool,
        stages=tuple(_stage_cost(stage, pool) for stage in stages),
        arms=_total_cost(of_arms, pool),
        sweep=_total_cost(of_sweep, pool) if of_sweep else None,
        all=_total_cost(stages, pool),
        disk=DiskPlan(
            languages=usage.languages,
            checkpoints=usage.checkpoints,
            in_flight=usage.in_flight,
            pools=usage.pools,
            results=usage.results,
            total=usage.total,
            folder=str(folder.resolve()),
            free=_free_bytes(folder),
        ),
    )


def check_disk_space(plan: RunPlan) -> None:
    """Raises PlanError if the plan does not fit its disk."""
    disk = plan.disk
    if disk.total > disk.free:
        raise PlanError(
            f"{disk.folder}: the plan needs {disk.total / 1e9:,.1f} GB of disk, and {disk.free / 1e9:,.1f} GB "
            "are free (files that an earlier run left there are not subtracted). Free some, or name another folder "
            "(--disk); fewer arms, seeds, train.steps or train.keep_checkpoints need less, and so does "
            "corpus.sources.*.max_bytes"
        )


def _without_missing_tokenizer(params: Params) -> Params:
    """Names of lineages include the hash of the tokenizer file; one that does not exist yet is left out of them."""
    if params.tokenizer.path and not Path(expand(params.tokenizer.path)).is_file():
        return replace(params, tokenizer=replace(params.tokenizer, path=None))
    return params


def _gpu_pool(gpu: str, gpus: int | None, mfu: float, processes: int) -> GpuPool:
    peak = peak_flops(gpu)
    if peak is None:
        raise PlanError(f"--gpu {gpu}: its peak FLOP/s are unknown; known GPUs are {', '.join(PEAK_FLOPS)}")
    if not 0 < mfu <= 1:
        raise PlanError(f"--mfu {mfu}: must be above 0 and at most 1; large models reach 0.3 to 0.5")
    count = processes if gpus is None else gpus
    if count < processes:
        raise PlanError(f"--gpus {count}: one run uses {processes} (train.processes); name at least as many")
    return GpuPool(name=gpu, count=count, peak_flops=peak, mfu=mfu)


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise PlanError(f"--disk {folder}: {error.strerror}; name a folder on the disk that the run will use") from None


def _stage_cost(stage: TrainingStage, pool: GpuPool) -> StageCost:
    return StageCost(
        lineage=stage.lineage.path,
        stage=stage.lineage.stage,
        seed=stage.lineage.seed,
        arms=stage.arms,
        model=stage.size.name,
        parameters=stage.size.parameters,
        processes=stage.processes,
        compute_over_budget=stage.total_tokens / stage.budget,
        steps=stage.steps,
        new_tokens=stage.new_tokens,
        replayed_tokens=stage.replayed_tokens,
        total_tokens=stage.total_tokens,
        flops=stage.flops,
        gpu_hours=pool.hours(stage.flops),
        wall_hours=pool.wall_hours(stage),
    )


def _total_cost(stages: Sequence[TrainingStage], pool: GpuPool) -> TotalCost:
    flops, total_tokens = sum(stage.flops for stage in stages), sum(stage.total_tokens for stage in stages)
    hours, lineage = longest_chain(stages, pool)
    return TotalCost(
        stages=len(stages),
        steps=sum(stage.steps for stage in stages),
        new_tokens=sum(stage.new_tokens for stage in stages),
        replayed_tokens=sum(stage.replayed_tokens for stage in stages),
        total_tokens=total_tokens,
        compute_over_budget=total_tokens / sum(stage.budget for stage in stages),
        flops=flops,
        gpu_hours=pool.hours(flops),
        busy_hours=pool.hours(flops, pool.count),
        wall_hours=schedule_hours(stages, pool),
        longest_chain=Chain(lineage=lineage, hours=hours),
    )
