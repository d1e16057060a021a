"""The output of a finished stage in runs/{lineage}: a model in Hugging Face's format, and the optimiser's state."""

from __future__ import annotations

from pathlib import Path

from palimpsest.artifact import file_digest
from palimpsest.model.hf_checkpoint import copy_description
from palimpsest.train.checkpoint import STATE_FILE, SavedState, TrainingState, write_full_tensors
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.model_card import write_model_card
from palimpsest.train.run_counts import RunCounts
from palimpsest.train.training_identity import TrainingIdentity


def is_finished(out: Path, training: TrainingIdentity) -> bool:
    """Whether ``out`` holds the result of this very run, with every file as it was written."""
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
