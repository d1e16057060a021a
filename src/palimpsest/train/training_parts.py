"""The components of a training run: batches, model, optimiser state, checkpoints."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from palimpsest.artifact import Manifest, read_manifest
from palimpsest.errors import TrainingError
from palimpsest.model.devices import configure_torch
from palimpsest.model.flops import training_flops_per_token
from palimpsest.settings.training import Train
from palimpsest.specs.training import TrainSpec
from palimpsest.train.checkpoint import Checkpoints, TrainingState, read_tensors
from palimpsest.train.data import Batches
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.optimizer import AdamW
from palimpsest.train.reptile import Reptile
from palimpsest.train.run_counts import RunCounts, run_counts
from palimpsest.train.training_identity import TrainingIdentity
from palimpsest.train.wrap.allocator import keep_freed_memory
from palimpsest.train.wrap.training_model import TrainingModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The folders that a stage reads. ``pool`` is None if nothing is replayed."""

    parent: Path
    tokenizer: Path
    tokens: dict[str, Path]
    pool: Path | None

    def manifests(self) -> dict[str, Manifest]:
        """By role; together with the spec they determine the weights."""
        manifests = {f"tokens/{language}": read_manifest(folder, "tokens") for language, folder in self.tokens.items()}
        manifests["parent"] = read_manifest(self.parent, "run")
        if self.pool:
            manifests["replay"] = read_manifest(self.pool, "replay")
        return manifests


@dataclass(frozen=True, kw_only=True)
class TrainingParts:
    """The components of a training run, before its first step."""

    training: TrainingIdentity
    inputs: Inputs
    out: Path
    group: ProcessGroup
    batches: Batches
    model: TrainingModel
    state: TrainingState
    checkpoints: Checkpoints
    flops_per_token: int

    @property
    def spec(self) -> TrainSpec:
        """What is trained."""
        return self.training.spec

    def counts(self) -> RunCounts:
        """The counts in the manifest, once the stage is trained."""
        parameters = sum(weight.numel() for weight in self.state.weights.values())
        return run_counts(self.out, self.batches, parameters, self.flops_per_token)


def set_up_torch(settings: Train) -> None:
    """Set threads, deterministic algorithms and the allocator of this process."""
    keep_freed_memory()
    configure_torch(settings.threads)
    if settings.compile:
        torch.use_deterministic_algorithms(True)  # the compiler's choices too
    # Nothing here reads memory that it did not write; filling it first costs a twentieth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def build_parts(training: TrainingIdentity, inputs: Inputs, out: Path, group: ProcessGroup) -> TrainingParts:
    """Load the parent's model and build the rest around it. Raises ArtifactError if one of its files is corrupt."""
    spec, settings = training.spec, training.spec.train
    parent = read_manifest(inputs.parent, "run")
    parent.check(*(name for name in ("model.safetensors", "optimizer.safetensors") if name in parent.files))
    batches = Batches(spec, inputs.tokens, inputs.pool)
    end_of_text = read_manifest(inputs.tokenizer, "tokenizer").counts["end_of_text"]
    model = TrainingModel.load(inputs.parent, settings, group, end_of_text)
    reptile = None
    if spec.mer:
        reptile = Reptile(list(model.weights.values()), spec.mer.interval, spec.mer.step_size)
    return TrainingParts(
        training=training,
        inputs=inputs,
        out=out,
        group=group,
        batches=batches,
        model=model,
        state=TrainingState(weights=model.weights, optimizer=AdamW(model.weights, settings), reptile=reptile),
        checkpoints=Checkpoints(out, training.resume_fingerprint, group, settings.keep_checkpoints),
        flops_per_token=training_flops_per_token(model.model.config, batches.context_length),
    )


def restore(parts: TrainingParts, discard_checkpoints: bool) -> int:
    """Load the parent's moments, then the last checkpoint of this run, if any. Returns the number of steps done."""
    moments = parts.inputs.parent / "optimizer.safetensors"
    if parts.spec.train.optimizer_state == "carry" and moments.is_file():
        read_tensors(parts.state.optimizer.moments, [moments])
    start = parts.checkpoints.resume(parts.state)
    if start:
        logger.info("resuming after step %d of %d", start, len(parts.batches))
    with parts.group.fail_together():
        if parts.group.is_first and not start:
            _discard_others(parts.checkpoints, discard_checkpoints)
    return start


def _discard_others(checkpoints: Checkpoints, allowed: bool) -> None:
    if (others := checkpoints.complete()) and not allowed:
        raise TrainingError(
            f"{others[-1]}: belongs to a run with different data or params, so this one cannot resume from it; to "
            "delete it and train from scratch, add --discard-checkpoints or run "
            f"`rm -r {checkpoints.folder}/checkpoint-*`"
        )
    checkpoints.remove_all()
