"""What a finished stage leaves in runs/{lineage}: a model in Hugging Face's format, and the optimiser's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from palimpsest.artifact import file_digest, fingerprint
from palimpsest.codec import fingerprint_fields
from palimpsest.model.hf_checkpoint import copy_description
from palimpsest.replay.stage_ledger import StageLedger
from palimpsest.specs.training import TrainSpec
from palimpsest.train.checkpoint import STATE_FILE, SavedState, TrainingState, write_full_tensors
from palimpsest.train.data import Batches
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.metrics import StepRecord, read_metrics
from palimpsest.train.model_card import write_model_card
from palimpsest.train.run_counts import RunCounts


@dataclass(frozen=True, kw_only=True)
class TrainingIdentity:
    """Which training a folder holds. ``input_digests``: role → hash of the manifest that was read."""

    spec: TrainSpec
    input_digests: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Equal for trainings that end with equal bytes."""
        return self._fingerprint(self.spec)

    @property
    def resume_fingerprint(self) -> str:
        """Equal for trainings that can resume from each other's checkpoints: they may differ in processes."""
        return self._fingerprint(replace(self.spec, train=replace(self.spec.train, processes=1, sharding="ddp")))

    def _fingerprint(self, spec: TrainSpec) -> str:
        return fingerprint({"spec": fingerprint_fields(spec), "inputs": dict(self.input_digests)})


def is_finished(out: Path, training: TrainingIdentity) -> bool:
    """Whether ``out`` holds the end of this very training, and every file of it as it was written."""
    if not (out / STATE_FILE).is_file():
        return False
    state = SavedState.read(out)
    return state.fingerprint == training.fingerprint and state.corrupt_file(out) is None


def export(
    out: Path, parent: Path, state: TrainingState, training: TrainingIdentity, counts: RunCounts, group: ProcessGroup
) -> None:
    """Write model, optimiser and model card beside metrics.jsonl; state.json, last, marks them as complete."""
    write_full_tensors(state.weights, out / "model.safetensors", group)
    write_full_tensors(state.optimizer.moments, out / "optimizer.safetensors", group)
    with group.fail_together():
        if group.is_first:
            files = [
                *copy_description(parent, out),
                write_model_card(out, training.spec, counts, training.input_digests, training.fingerprint),
                *(out / name for name in ("model.safetensors", "optimizer.safetensors", "metrics.jsonl")),
            ]
            digests = {path.name: file_digest(path) for path in files}
            SavedState(step=counts.ledger.steps, fingerprint=training.fingerprint, files=digests).write(out)


def run_counts(out: Path, batches: Batches, parameters: int, flops_per_token: int) -> RunCounts:
    """The counts of a trained stage, whose metrics.jsonl is complete."""
    return RunCounts(
        parameters=parameters,
        training_flops_per_token=flops_per_token,
        ledger=StageLedger.of(batches.schedule, batches.context_length, flops_per_token),
        skipped=sum(
            isinstance(record, StepRecord) and record.skipped for record in read_metrics(out / "metrics.jsonl")
        ),
    )
