"""One stage of training: new sequences and replayed ones in every batch, AdamW, and Reptile every k steps.

Read from ``train`` downwards. Everything that a step does depends on the spec, the inputs and the step's number
alone, so a run that was killed and goes on from its last checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palimpsest.artifact import Manifest, file_digest, fingerprint, read_json, read_manifest, write_json, write_manifest
from palimpsest.errors import TrainingError
from palimpsest.model.devices import configure_torch
from palimpsest.model.flops import training_flops_per_token
from palimpsest.model.held_out_loss import document_losses, take_documents
from palimpsest.model.hf_checkpoint import copy_description
from palimpsest.tokens.sequences import Documents
from palimpsest.train import metrics_log
from palimpsest.train.checkpoint import Checkpoints, State, write_whole
from palimpsest.train.data import Batches
from palimpsest.train.distributed.process_group import Ranks
from palimpsest.train.distributed.sharding import whole
from palimpsest.train.folder_lock import locked
from palimpsest.train.gradient_alignment import Alignment
from palimpsest.train.loggers import Loggers, Training
from palimpsest.train.lr_schedule import learning_rate
from palimpsest.train.model_card import write_card
from palimpsest.train.optimizer import adamw
from palimpsest.train.progress import Progress
from palimpsest.train.reptile import Reptile
from palimpsest.train.spike_guard import Guard
from palimpsest.train.stop_signals import StopRequest
from palimpsest.train.wrap.allocator import keep_freed_memory
from palimpsest.train.wrap.training_model import Network

logger = logging.getLogger(__name__)
STATE = "state.json"
# How the work is dealt out decides the bytes, but any of these can go on from a checkpoint of another.
_PLACEMENT = {"processes", "sharding"}
_GOOD, _BAD, _LOST = range(3)


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


def train(
    spec: dict[str, Any], inputs: Inputs, out: Path, checkpoint_interval: int,
    keep_checkpoints: int = 1, loggers: Sequence[str] = (), discard_checkpoints: bool = False,
    on_bad_step: str = "stop",
) -> Manifest:  # fmt: skip
    """Train the stage of ``spec`` and write runs/{lineage}; goes on from the last checkpoint of an equal training.

    Called by each of the spec's processes alike; the first one writes, and tells the ``loggers``. Checkpoints of a
    training on other data or params are removed where ``discard_checkpoints`` says so. Raises TrainingError where it
    does not, where another process trains in ``out``, at a step that ``train.guard`` calls bad unless ``on_bad_step``
    is "skip", after a SIGINT, SIGTERM or SIGUSR1 once a checkpoint is kept, or for want of a logger.
    """
    manifests = inputs.manifests()
    ranks = Ranks(spec["train"]["processes"])
    with contextlib.ExitStack() as held:
        with ranks.all_or_none():
            if ranks.first:
                held.enter_context(locked(out))
        digests = {role: manifests[role].digest for role in sorted(manifests)}
        stage = Stage(spec, inputs, out, digests, ranks, keep_checkpoints, on_bad_step)
        with ranks.all_or_none():
            finished = ranks.first and stage.is_finished()
            if finished:
                stage.checkpoints.remove()
        if ranks.agreed(finished):
            logger.info("%s was trained before with equal params and inputs", out)
        else:
            stage.run(checkpoint_interval, loggers, discard_checkpoints)
        with ranks.all_or_none():
            if ranks.first:
                files = [*(out / name for name in sorted(read_json(out / STATE)["files"])), out / STATE]
                write_manifest(out, stage="run", params=spec, inputs=manifests, files=files, counts=stage.counts())
        ranks.close()
    return read_manifest(out, "run")


class Stage:
    """The state of one stage of training: model, optimiser, anchor, and where it stands."""

    def __init__(
        self, spec: dict[str, Any], inputs: Inputs, out: Path, digests: dict[str, str], ranks: Ranks, keep: int,
        on_bad_step: str,
    ) -> None:  # fmt: skip
        self.spec, self.inputs, self.out, self.ranks, self.on_bad_step = spec, inputs, out, ranks, on_bad_step
        self.settings: dict[str, Any] = spec["train"]
        self.digests, self.identity = digests, fingerprint({"spec": spec, "inputs": digests})
        keep_freed_memory()
        configure_torch(self.settings["threads"])
        if self.settings["compile"]:
            torch.use_deterministic_algorithms(True)  # the compiler's own choices too
        # Nothing here reads memory that it did not write; filling it first costs a twentieth of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        parent = read_manifest(inputs.parent, "run")
        parent.check(*(name for name in ("model.safetensors", "optimizer.safetensors") if name in parent.files))
        self.batches = Batches(spec, inputs.tokens, inputs.pool)
        end_of_text = read_manifest(inputs.tokenizer, "tokenizer").counts["end_of_text"]
        self.network = Network(inputs.parent, self.settings, ranks, end_of_text)
        self.flops_per_token = training_flops_per_token(self.network.model.config, self.batches.context_length)
        names, mer = self.network.names, spec["mer"]
        reptile = Reptile(list(names), mer["interval"], mer["step_size"]) if mer else None
        self.state = State(names=names, optimizer=adamw(names, self.settings), reptile=reptile)
        anywhere = {key: value for key, value in self.settings.items() if key not in _PLACEMENT}
        continued = fingerprint({"spec": spec | {"train": anywhere}, "inputs": digests})
        self.checkpoints = Checkpoints(out, continued, ranks, keep)

    def is_finished(self) -> bool:
        """Whether ``out`` already holds the end of this very training, and every file of it as it was written."""
        if not (self.out / STATE).is_file():
            return False
        state = read_json(self.out / STATE)
        return state["fingerprint"] == self.identity and all(
            (self.out / name).is_file() and file_digest(self.out / name) == digest
            for name, digest in state["files"].items()
        )

    def run(self, checkpoint_interval: int, loggers: Sequence[str], discard_checkpoints: bool) -> None:
        """From the parent's weights, or the last checkpoint, to the end of the stage."""
        stop = StopRequest()
        start = self._restore(discard_checkpoints)
        if self.ranks.first:
            self._tell_epochs()
        with self.ranks.all_or_none():
            (self.out / STATE).unlink(missing_ok=True)
            # The first process cuts off what a killed run wrote after its checkpoint, before any reads it.
            self.log = log = self._open_log(start, loggers) if self.ranks.first else metrics_log.SilentLog()
        self.alignment = Alignment(self.spec, self.batches, self.network, self.ranks, self._backward, log)
        lines = (line for line in metrics_log.read(self.out / "metrics.jsonl") if line["step"] <= start)
        self.guard = Guard(self.settings["spike_nats"], self.settings["spike_factor"], lines)
        if start == 0 and self.spec["stage"] == 1:
            self._validate(0)
        progress = Progress(start, self.batches, self.flops_per_token, self.ranks)
        self.network.model.train()
        for step, (rows, is_replayed) in enumerate(self.batches.ahead(start, self.ranks.rank, self.ranks.count), start):
            losses = self._step(step, rows, is_replayed)
            log.write(step=step + 1, **losses)
            progress.show(step + 1, losses["loss"])
            done, last = step + 1, step + 1 == len(self.batches)
            if last or done % self.settings["eval_interval"] == 0:
                self._validate(done)
            stopping = self.ranks.any(stop.requested) and not last
            if stopping or (not last and done % checkpoint_interval == 0):
                log.sync()
                self.checkpoints.save(done, self.state)
            if stopping:
                self._fail(f"stopped by a signal after step {done}; the checkpoint is kept, run again to go on")
        log.close()
        self._finish()

    def _tell_epochs(self) -> None:
        for language, epochs in self.batches.epochs.items():
            if epochs > 1:
                logger.warning("%s: %.2f epochs of its text; more text or fewer train.steps make one", language, epochs)

    def _fail(self, message: str) -> NoReturn:
        self.log.close()
        self.checkpoints.wait()
        self.ranks.fail(message)

    def _open_log(self, start: int, loggers: Sequence[str]) -> metrics_log.MetricsLog:
        training = Training(
            spec=self.spec, out=self.out, start=start, fingerprint=self.checkpoints.fingerprint,
            flops_per_token=self.flops_per_token, device=self.ranks.device,
        )  # fmt: skip
        return metrics_log.MetricsLog(self.out / "metrics.jsonl", start, Loggers(loggers, training))

    def _restore(self, discard_checkpoints: bool) -> int:
        """Take up the parent's optimiser, then whatever a checkpoint of this training holds."""
        self.state.begin_moments()
        moments = self.inputs.parent / "optimizer.safetensors"
        if self.settings["optimizer_state"] == "carry" and moments.is_file():
            self.state.load(self.state.moments, [moments])
        start = self.checkpoints.resume(self.state)
        if start:
            logger.info("resuming after step %d of %d", start, len(self.batches))
        with self.ranks.all_or_none():
            if self.ranks.first and not start:
                self._discard(discard_checkpoints)
        return start

    def _discard(self, asked: bool) -> None:
        if (others := self.checkpoints.found()) and not asked:
            raise TrainingError(
                f"{others[-1]}: is of a training on other data or params, which this one cannot go on from; to train "
                f"anew and lose it, give --discard-checkpoints or run `rm -r {self.out}/checkpoint-*`"
            )
        self.checkpoints.remove()

    def _step(self, step: int, rows: np.ndarray, is_replayed: np.ndarray) -> dict[str, Any]:
        """One optimiser step on this process's ``rows`` of batch ``step``; ``is_replayed`` is of the whole batch.

        Returns its losses in nats per token, of new and replayed sequences apart.
        """
        optimizer, reptile = self.state.optimizer, self.state.reptile
        rate = learning_rate(step, len(self.batches), self.spec["stage"], self.spec["stages"], self.settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        per_sequence = self._backward(torch.from_numpy(rows).to(self.ranks.device), len(is_replayed))
        self.alignment.at_step(step + 1)
        norm = whole(torch.nn.utils.clip_grad_norm_(list(self.state.names), self.settings["grad_clip"]))
        loss = float(per_sequence.mean())
        skipped = self._is_skipped(step, loss, float(norm))
        if not skipped:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if reptile:
            with self.alignment.around_interpolation(step + 1):
                interpolated = reptile.after_step(step + 1, last=step + 1 == len(self.batches))
            if interpolated and self.spec["mer"]["moments"] == "reset":
                self.state.begin_moments()
        apart = {"loss_new": per_sequence[~is_replayed], "loss_replayed": per_sequence[is_replayed]}
        return {
            "loss": loss,
            **{name: float(part.mean()) for name, part in apart.items() if part.size},
            "learning_rate": rate,
            "gradient_norm": float(norm),
            **({"skipped": True} if skipped else {}),
        }

    def _is_skipped(self, step: int, loss: float, norm: float) -> bool:
        """Whether a bad step is passed over; the training stops at it where params say so. All processes agree."""
        problem = self.guard.problem(loss, norm)
        verdict = self.ranks.agreed(_GOOD if not problem else _LOST if self.guard.is_lost else _BAD)
        if verdict == _GOOD:
            return False
        if verdict == _LOST:
            self._fail(
                f"{self.out}: {problem} at step {step + 1}, as at many before it; {self._kept()}. Lower "
                "train.learning_rate, or raise train.spike_nats or train.spike_factor; either trains the stage anew"
            )
        if self.on_bad_step == "stop":
            self._fail(
                f"{self.out}: {problem} at step {step + 1}; {self._kept()}. Set train.on_bad_step: skip to pass over "
                "it and go on, or lower train.learning_rate, which trains the stage anew"
            )
        logger.warning("step %d is skipped: %s", step + 1, problem)
        return True

    def _kept(self) -> str:
        self.checkpoints.wait()
        return "the last checkpoint is kept" if self.checkpoints.found() else "no checkpoint was made before it"

    def _backward(self, rows: Tensor, sequences: int) -> np.ndarray:
        """Gradient of the mean loss over all tokens of a batch of ``sequences``, from this process's rows of it.

        Returns the loss of each sequence of the batch. All processes pass equally often, so that none waits in vain:
        shares are filled up to the widest one with rows that count nothing. Gradients are averaged over processes, so
        the loss is multiplied by their number.
        """
        widest = -(-sequences // self.ranks.count)
        counted, tokens = len(rows), sequences * self.batches.context_length
        weights = F.pad(torch.full((counted,), self.ranks.count / tokens), (0, widest - counted)).to(rows.device)
        rows = F.pad(rows, (0, 0, 0, widest - counted))
        parts: list[Tensor] = []
        micro = self.settings["micro_batch_size"] or widest
        for begin in range(0, widest, micro):
            chosen = slice(begin, begin + micro)
            total, losses = self.network.losses(rows[chosen], weights[chosen])
            self.network.send_gradients(begin + micro >= widest)
            torch.autograd.backward(total)
            parts.append(losses.mean(dim=1))
        per_sequence: np.ndarray = self.ranks.gather(torch.cat(parts)[:counted], sequences).cpu().numpy()
        return per_sequence

    def _validate(self, step: int) -> None:
        """A point of the validation curves: the held-out loss of every language, also of those still to come."""
        limit, curve = self.settings["eval_tokens"], {}
        token_bytes = np.load(self.inputs.tokenizer / "token_bytes.npy", allow_pickle=False)
        for language in self.spec["languages"]:
            documents = Documents(self.inputs.tokens[language], "validation")
            # What is compiled is for batches; windows of documents have lengths of their own.
            with torch.compiler.set_stance("force_eager"), self.network.precision():
                losses = document_losses(
                    self.network.model,
                    take_documents(documents, limit, limit),
                    end_of_text=documents.end_of_text,
                    token_bytes=token_bytes,
                    context_length=self.batches.context_length,
                    batch_size=self.settings["micro_batch_size"] or -(-self.settings["batch_size"] // self.ranks.count),
                )
            curve[language] = losses.nats_per_token
        tokens = min(step * self.batches.schedule.batch_size, self.batches.schedule.total) * self.batches.context_length
        self.log.write(step=step, tokens=tokens, validation=curve)

    def _finish(self) -> None:
        """Leave the model in Hugging Face's format and the optimiser; state.json, last, says that both are whole."""
        self.checkpoints.wait()
        write_whole(self.state.weights, self.out / "model.safetensors", self.ranks)
        write_whole(self.state.moments, self.out / "optimizer.safetensors", self.ranks)
        with self.ranks.all_or_none():
            if self.ranks.first:
                self._close()

    def _close(self) -> None:
        files = [
            *copy_description(self.inputs.parent, self.out),
            write_card(self.out, self.spec, self.counts(), self.digests, self.identity),
            *(self.out / name for name in ("model.safetensors", "optimizer.safetensors", "metrics.jsonl")),
        ]
        written = {path.name: file_digest(path) for path in files}
        write_json(self.out / STATE, {"step": len(self.batches), "fingerprint": self.identity, "files": written})
        self.checkpoints.remove()

    def counts(self) -> dict[str, Any]:
        """The manifest's counts: the ledger and the size of the model."""
        return {
            "ledger": self.batches.ledger(self.flops_per_token),
            "parameters": sum(weight.numel() for weight in self.state.names),
            "training_flops_per_token": self.flops_per_token,
            "skipped": sum("skipped" in line for line in metrics_log.read(self.out / "metrics.jsonl")),
        }
