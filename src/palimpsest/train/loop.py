"""One stage of training: new sequences and replayed ones in every batch, AdamW, and Reptile every k steps.

Read from ``train`` downwards. Everything that a step does depends on the spec, the inputs and the step's number
alone, so a run that was killed and goes on from its last checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.artifact import (
    Manifest,
    file_digest,
    fingerprint,
    read_json,
    read_manifest,
    write_json,
    write_manifest,
)  # fmt: skip
from palimpsest.errors import TrainingError
from palimpsest.flops import training_flops_per_token
from palimpsest.losses import document_losses, take_documents
from palimpsest.model import best_device, load_model, save_model
from palimpsest.tokens.sequences import Documents
from palimpsest.train.batches import Batches
from palimpsest.train.checkpoint import Checkpoints, load_optimizer, save_optimizer
from palimpsest.train.learning_rate import learning_rate
from palimpsest.train.metrics import MetricsLog
from palimpsest.train.reptile import Reptile

logger = logging.getLogger(__name__)
STATE = "state.json"
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The folders that a stage reads. ``pool`` is None where nothing is replayed."""

    parent: Path
    tokenizer: Path
    tokens: dict[str, Path]
    pool: Path | None

    def manifests(self) -> dict[str, Manifest]:
        """By role; together with the spec they decide the weights."""
        found = {f"tokens/{language}": read_manifest(folder, "tokens") for language, folder in self.tokens.items()}
        found["parent"] = read_manifest(self.parent, "run")
        if self.pool:
            found["replay"] = read_manifest(self.pool, "replay")
        return found


def train(spec: dict[str, Any], inputs: Inputs, out: Path, checkpoint_interval: int) -> Manifest:
    """Train the stage of ``spec`` and write runs/{lineage}; goes on from the last checkpoint of an equal training.

    Raises TrainingError when the loss is not finite, or after a SIGINT, SIGTERM or SIGUSR1, once a checkpoint is kept.
    """
    manifests = inputs.manifests()
    identity = fingerprint({"spec": spec, "inputs": {role: manifests[role].digest for role in sorted(manifests)}})
    stage = Stage(spec, inputs, out, identity)
    if stage.is_finished():
        logger.info("%s was trained before with equal params and inputs", out)
    else:
        stage.run(checkpoint_interval)
    return write_manifest(
        out,
        stage="run",
        params=spec,
        inputs=manifests,
        files=[*(out / name for name in sorted(read_json(out / STATE)["files"])), out / STATE],
        counts=stage.counts(),
    )


class Stage:
    """The state of one stage of training: model, optimiser, anchor, and where it stands."""

    def __init__(self, spec: dict[str, Any], inputs: Inputs, out: Path, identity: str) -> None:
        self.spec, self.inputs, self.out, self.identity = spec, inputs, out, identity
        self.settings: dict[str, Any] = spec["train"]
        torch.set_num_threads(self.settings["threads"])
        torch.use_deterministic_algorithms(True)
        self.device = best_device()
        self.batches = Batches(spec, inputs.tokens, inputs.pool)
        self.model = load_model(inputs.parent, self.device)
        self.names = {weight: name for name, weight in self.model.named_parameters()}
        self.optimizer = _adamw(self.names, self.settings)
        self.reptile: Reptile | None = None
        self.checkpoints = Checkpoints(out, identity)

    def is_finished(self) -> bool:
        """Whether ``out`` already holds the end of this very training, and every file of it as it was written."""
        if not (self.out / STATE).is_file():
            return False
        state = read_json(self.out / STATE)
        return state["fingerprint"] == self.identity and all(
            (self.out / name).is_file() and file_digest(self.out / name) == digest
            for name, digest in state["files"].items()
        )

    def run(self, checkpoint_interval: int) -> None:
        """From the parent's weights, or the last checkpoint, to the end of the stage."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / STATE).unlink(missing_ok=True)
        start = self._restore()
        log = MetricsLog(self.out / "metrics.jsonl", start)
        if start == 0 and self.spec["stage"] == 1:
            self._validate(log, 0)
        stop, progress = _StopRequest(), _Progress(start, self.batches)
        self.model.train()
        for step in range(start, len(self.batches)):
            losses = self._step(step)
            log.write(step=step + 1, **losses)
            progress.show(step + 1, losses["loss"])
            done, last = step + 1, step + 1 == len(self.batches)
            if last or done % self.settings["eval_interval"] == 0:
                self._validate(log, done)
            if not last and (stop.requested or done % checkpoint_interval == 0):
                log.sync()
                self.checkpoints.save(done, self.names, self.optimizer, self.reptile)
            if stop.requested and not last:
                raise TrainingError(
                    f"stopped by a signal after step {done}; the checkpoint is kept, run again to go on"
                )
        log.close()
        self._finish()

    def _restore(self) -> int:
        """Take up the parent's optimiser and the anchor, then whatever a checkpoint of this training holds."""
        moments = self.inputs.parent / "optimizer.safetensors"
        if self.settings["optimizer_state"] == "carry" and moments.is_file():
            load_optimizer(self.optimizer, self.names, moments)
        if mer := self.spec["mer"]:
            self.reptile = Reptile(list(self.names), mer["interval"], mer["step_size"])
        start = self.checkpoints.resume(self.names, self.optimizer, self.reptile)
        if start:
            logger.info("resuming after step %d of %d", start, len(self.batches))
        else:
            self.checkpoints.remove()
        return start

    def _step(self, step: int) -> dict[str, Any]:
        """One optimiser step on batch ``step``; its losses in nats per token, of new and replayed sequences apart."""
        rows, is_replayed = self.batches[step]
        rate = learning_rate(step, len(self.batches), self.spec["stage"], self.spec["stages"], self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        per_sequence = self._backward(torch.from_numpy(rows).to(self.device))
        norm = torch.nn.utils.clip_grad_norm_(list(self.names), self.settings["grad_clip"])
        loss = float(per_sequence.mean())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"{self.out}: the loss is {loss} and the gradient norm {norm} at step {step + 1}; the last checkpoint "
                "is kept. Lower train.learning_rate"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.reptile:
            self.reptile.after_step(step + 1, last=step + 1 == len(self.batches))
        apart = {"loss_new": per_sequence[~is_replayed], "loss_replayed": per_sequence[is_replayed]}
        return {
            "loss": loss,
            **{name: float(part.mean()) for name, part in apart.items() if part.size},
            "learning_rate": rate,
            "gradient_norm": float(norm),
        }

    def _backward(self, rows: Tensor) -> np.ndarray:
        """Gradient of the mean loss over the tokens of all micro-batches; returns the loss of each sequence."""
        tokens, parts = rows[:, 1:].numel(), []
        for part in torch.split(rows, self.settings["micro_batch_size"] or len(rows)):
            logits = self.model(input_ids=part[:, :-1]).logits
            losses = F.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].flatten(), reduction="none")
            torch.autograd.backward(losses.sum() / tokens)
            parts.append(losses.detach().view(len(part), -1).mean(dim=1))
        per_sequence: np.ndarray = torch.cat(parts).cpu().numpy()
        return per_sequence

    def _validate(self, log: MetricsLog, step: int) -> None:
        """A point of the validation curves: the held-out loss of every language, also of those still to come."""
        limit, curve = self.settings["eval_tokens"], {}
        token_bytes = np.load(self.inputs.tokenizer / "token_bytes.npy", allow_pickle=False)
        for language in self.spec["languages"]:
            documents = Documents(self.inputs.tokens[language], "validation")
            losses = document_losses(
                self.model,
                take_documents(documents, limit, limit),
                end_of_text=documents.end_of_text,
                token_bytes=token_bytes,
                context_length=self.batches.context_length,
                batch_size=self.settings["batch_size"],
            )
            curve[language] = losses.nats_per_token
        tokens = min(step * self.batches.schedule.batch_size, self.batches.schedule.total) * self.batches.context_length
        log.write(step=step, tokens=tokens, validation=curve)

    def _finish(self) -> None:
        """Leave the model in Hugging Face's format and the optimiser; state.json, last, says that both are whole."""
        moments = self.out / "optimizer.safetensors"
        save_optimizer(self.optimizer, self.names, moments)
        files = [*save_model(self.model, self.out, self.inputs.parent), moments, self.out / "metrics.jsonl"]
        written = {path.name: file_digest(path) for path in files}
        state = {"step": len(self.batches), "fingerprint": self.identity, "files": written}
        write_json(self.out / STATE, state)
        self.checkpoints.remove()

    def counts(self) -> dict[str, Any]:
        """The manifest's counts: the ledger and the size of the model."""
        per_token = training_flops_per_token(self.model.config, self.batches.context_length)
        return {
            "ledger": self.batches.ledger(per_token),
            "parameters": sum(weight.numel() for weight in self.names),
            "training_flops_per_token": per_token,
        }


def _adamw(names: dict[Tensor, str], settings: dict[str, Any]) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves gains alone."""
    matrices = [weight for weight in names if weight.ndim >= 2]
    gains = [weight for weight in names if weight.ndim < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings["weight_decay"]}, {"params": gains, "weight_decay": 0.0}],
        lr=settings["learning_rate"],
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
        fused=True,
    )


class _StopRequest:
    """Notes a SIGINT (Ctrl-C), SIGTERM or SIGUSR1, so that the loop can keep a checkpoint before it ends."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        logger.info("%s: stopping after this step", signal.Signals(number).name)
        self.requested = True


class _Progress:
    """A line every few seconds: step, loss, tokens per second, time left."""

    def __init__(self, start: int, batches: Batches) -> None:
        self._start, self._steps = start, len(batches)
        self._tokens_per_step = batches.schedule.batch_size * batches.context_length
        self._began = self._shown = time.monotonic()

    def show(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if now - self._shown < _PROGRESS_SECONDS and step < self._steps:
            return
        self._shown = now
        rate = (step - self._start) / (now - self._began)
        logger.info(
            "step %d/%d  loss %.3f  %s tokens/s  %.0f s left",
            step, self._steps, loss, f"{rate * self._tokens_per_step:,.0f}", (self._steps - step) / rate,
        )  # fmt: skip
