"""One stage of training: new and replayed sequences in every batch, AdamW, and Reptile every k steps.

Read ``train``, then ``Trainer.run``. Everything that a step does depends on the spec, the inputs and the step's number
alone, so a run that was killed and resumes from its last checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

import torch

from palimpsest.artifact import Manifest, read_manifest, write_manifest
from palimpsest.codec import encode, fingerprint_fields
from palimpsest.progress import Progress
from palimpsest.specs.training import TrainSpec
from palimpsest.train.checkpoint import STATE_FILE, SavedState
from palimpsest.train.data import Batch, Batches
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.distributed.sharding import full_tensor
from palimpsest.train.export import export, is_finished
from palimpsest.train.folder_lock import locked_folder
from palimpsest.train.forward_backward import forward_backward
from palimpsest.train.gradient_alignment import GradientAlignment
from palimpsest.train.loggers import LoggedTraining, Loggers
from palimpsest.train.lr_schedule import learning_rate
from palimpsest.train.metrics import StepRecord, ValidationRecord, read_metrics
from palimpsest.train.metrics_log import MetricsLog, MetricsWriter, NoMetricsLog
from palimpsest.train.spike_guard import SpikeGuard
from palimpsest.train.stop_signals import StopSignals
from palimpsest.train.throughput import Throughput
from palimpsest.train.training_identity import TrainingIdentity
from palimpsest.train.training_parts import Inputs, TrainingParts, build_parts, restore, set_up_torch
from palimpsest.train.validate import Validator

logger = logging.getLogger(__name__)


class _Verdict(IntEnum):
    """On a step, by its loss and gradient norm; DIVERGED after many bad ones in a row."""

    GOOD = 0
    BAD = 1
    DIVERGED = 2


def train(spec: TrainSpec, inputs: Inputs, out: Path, *, discard_checkpoints: bool = False) -> Manifest:
    """Train the stage of ``spec`` and write runs/{lineage}; resumes from the last checkpoint of an equal run.

    Every rank calls it; rank 0 writes and logs. ``discard_checkpoints`` removes the checkpoints of a run with different
    data or params. Raises TrainingError if there are such checkpoints and it is not set, if another run holds ``out``,
    at a bad step (see ``SpikeGuard``) unless ``train.on_bad_step`` is "skip", after a SIGINT, SIGTERM or SIGUSR1 once a
    checkpoint is written, and if the package of a logger is missing.
    """
    manifests = inputs.manifests()
    group = ProcessGroup(spec.train.processes)
    with contextlib.ExitStack() as stack:
        with group.fail_together():
            if group.is_first:
                stack.enter_context(locked_folder(out))
        training = TrainingIdentity(
            spec=spec, input_digests={role: manifests[role].digest for role in sorted(manifests)}
        )
        set_up_torch(spec.train)
        parts = build_parts(training, inputs, out, group)
        with group.fail_together():
            finished = group.is_first and is_finished(out, training)
        if group.broadcast(finished):
            logger.info("%s was trained before with equal params and inputs", out)
        else:
            trainer = restore_trainer(parts, discard_checkpoints)
            trainer.run()
            export(out, inputs.parent, parts.state, training, parts.counts(), group)
        with group.fail_together():
            if group.is_first:
                parts.checkpoints.remove_all()
                _write_manifest(parts, manifests)
        group.close()
    return read_manifest(out, "run")


def restore_trainer(parts: TrainingParts, discard_checkpoints: bool) -> Trainer:
    """Restore the state and open the log: at the start of the stage, or after its last checkpoint."""
    spec, settings, group = parts.spec, parts.spec.train, parts.group
    signals = StopSignals()
    start = restore(parts, discard_checkpoints)
    if group.is_first:
        _warn_of_repeated_text(parts.batches)
    with group.fail_together():
        (parts.out / STATE_FILE).unlink(missing_ok=True)
        # Rank 0 drops what a killed run logged after its last checkpoint, before any rank reads the log.
        log = _open_log(parts, start) if group.is_first else NoMetricsLog()
    records = (record for record in read_metrics(parts.out / "metrics.jsonl") if record.step <= start)
    alignment = GradientAlignment(
        parts.model, parts.batches, group, log,
        interval=settings.alignment_interval if spec.replay else None,
        reptile=parts.state.reptile,
        micro_batch_size=settings.micro_batch_size,
    )  # fmt: skip
    return Trainer(
        parts=parts,
        start=start,
        log=log,
        validator=Validator(spec.languages, parts.inputs.tokens, parts.inputs.tokenizer, settings, group.world_size),
        alignment=alignment,
        spike_guard=SpikeGuard(settings.spike_nats, settings.spike_factor, records),
        throughput=Throughput.of(settings, parts.flops_per_token, group.device),
        signals=signals,
    )


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A training run in progress, after ``start`` steps of the stage. Steps are numbered from 1."""

    parts: TrainingParts
    start: int
    log: MetricsWriter
    validator: Validator
    alignment: GradientAlignment
    spike_guard: SpikeGuard
    throughput: Throughput
    signals: StopSignals

    def run(self) -> None:
        """Train to the end of the stage."""
        parts, batches = self.parts, self.parts.batches
        if self.start == 0 and parts.spec.stage == 1:
            self.validate(0)
        parts.model.model.train()
        ahead = batches.prefetch(self.start, parts.group.rank, parts.group.world_size)
        with Progress("training", total=len(batches), unit="steps", start=self.start) as progress:
            for step, batch in enumerate(ahead, self.start + 1):
                record = self.train_step(step, batch)
                self.log.write(record)
                progress.update(step, functools.partial(self._note, record, progress))
                is_last = step == len(batches)
                if is_last or step % parts.spec.train.eval_interval == 0:
                    self.validate(step)
                if not is_last:
                    self.checkpoint_or_stop(step)
        self.log.close()
        parts.checkpoints.wait()

    def train_step(self, step: int, batch: Batch) -> StepRecord:
        """One optimiser step on this rank's rows of a batch. Returns its losses in nats per token."""
        spec, state = self.parts.spec, self.parts.state
        state.optimizer.lr = learning_rate(step - 1, len(self.parts.batches), spec.stage, spec.stages, spec.train)
        rows = torch.from_numpy(batch.rows).to(self.parts.group.device)
        losses = forward_backward(
            self.parts.model, rows, len(batch.is_replayed), self.parts.group, spec.train.micro_batch_size
        )
        self.alignment.at_step(step)
        norm = float(full_tensor(torch.nn.utils.clip_grad_norm_(list(state.weights.values()), spec.train.grad_clip)))
        loss = float(losses.mean())
        skipped = self._is_skipped(step, loss, norm)
        if not skipped:
            state.optimizer.step()
        state.optimizer.zero_grad()
        self._interpolate(step)
        new, replayed = losses[~batch.is_replayed], losses[batch.is_replayed]
        return StepRecord(
            step=step,
            loss=loss,
            loss_new=float(new.mean()) if new.size else None,
            loss_replayed=float(replayed.mean()) if replayed.size else None,
            learning_rate=state.optimizer.lr,
            gradient_norm=norm,
            skipped=skipped,
        )

    def validate(self, step: int) -> None:
        """Add a point to the validation curves."""
        losses = self.validator.losses(self.parts.model)
        self.log.write(ValidationRecord(step=step, tokens=self.parts.batches.tokens_after(step), validation=losses))

    def checkpoint_or_stop(self, step: int) -> None:
        """Save a checkpoint if one is due; after a signal to any rank, save one and end the run."""
        is_stopping = self.parts.group.any(self.signals.received)
        if is_stopping or step % self.parts.spec.train.checkpoint_interval == 0:
            self.log.sync()
            self.parts.checkpoints.save(step, self.parts.state)
        if is_stopping:
            self._fail(f"stopped by a signal after step {step}; a checkpoint was saved, run again to resume from it")

    def _interpolate(self, step: int) -> None:
        """Let Reptile interpolate if the step closes a window."""
        state, mer = self.parts.state, self.parts.spec.mer
        if state.reptile is None or mer is None:
            return
        with self.alignment.around_interpolation(step):
            interpolated = state.reptile.after_step(step, last=step == len(self.parts.batches))
        if interpolated and mer.moments == "reset":
            state.optimizer.reset_moments()

    def _is_skipped(self, step: int, loss: float, norm: float) -> bool:
        """Check a step. Returns True if it is bad and to be skipped; raises if the run must end. All ranks agree."""
        problem = self.spike_guard.check(loss, norm)
        verdict = _Verdict.BAD if problem else _Verdict.GOOD
        if problem and self.spike_guard.has_diverged:
            verdict = _Verdict.DIVERGED
        verdict = _Verdict(self.parts.group.broadcast(verdict))
        if verdict == _Verdict.GOOD:
            return False
        if verdict == _Verdict.DIVERGED:
            self._fail(
                f"{self.parts.out}: {problem} at step {step}, as at many before it; {self._last_checkpoint()}. Lower "
                "train.learning_rate, or raise train.spike_nats or train.spike_factor; either trains the stage from "
                "scratch"
            )
        if self.parts.spec.train.on_bad_step == "stop":
            self._fail(
                f"{self.parts.out}: {problem} at step {step}; {self._last_checkpoint()}. Set train.on_bad_step: skip "
                "to skip it and continue, or lower train.learning_rate, which trains the stage from scratch"
            )
        logger.warning("step %d is skipped: %s", step, problem)
        return True

    def _last_checkpoint(self) -> str:
        self.parts.checkpoints.wait()
        found = self.parts.checkpoints.complete()
        return "the last checkpoint remains" if found else "there was no checkpoint before it"

    def _fail(self, message: str) -> NoReturn:
        self.log.close()
        self.parts.checkpoints.wait()
        self.parts.group.fail(message)

    def _note(self, record: StepRecord, progress: Progress) -> str:
        return f"loss {record.loss:.3f}, {self.throughput.text(progress.rate)}"


def _warn_of_repeated_text(batches: Batches) -> None:
    for language, epochs in batches.epochs.items():
        if epochs > 1:
            logger.warning("%s: %.2f epochs of its text; more text or fewer train.steps make one", language, epochs)


def _open_log(parts: TrainingParts, start: int) -> MetricsLog:
    training = LoggedTraining(
        spec=parts.spec,
        out=parts.out,
        start=start,
        fingerprint=parts.checkpoints.fingerprint,
        throughput=Throughput.of(parts.spec.train, parts.flops_per_token, parts.group.device),
    )
    return MetricsLog(parts.out / "metrics.jsonl", start, Loggers(parts.spec.train.loggers, training))


def _write_manifest(parts: TrainingParts, manifests: dict[str, Manifest]) -> None:
    files = [*(parts.out / name for name in sorted(SavedState.read(parts.out).files)), parts.out / STATE_FILE]
    write_manifest(
        parts.out,
        stage="run",
        params=fingerprint_fields(parts.spec),
        inputs=manifests,
        files=files,
        counts=encode(parts.counts()),
    )
