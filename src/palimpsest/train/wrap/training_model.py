"""The model as it is trained: sharded over processes, in the requested precision, recomputed and compiled."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palimpsest.model.hf_checkpoint import load_model
from palimpsest.model.llama import Llama, use_cpu_kernels
from palimpsest.settings.training import Train
from palimpsest.train.distributed.process_group import ProcessGroup
from palimpsest.train.distributed.sharding import shard_model, sync_gradients


class TrainingModel:
    """A causal LM whose ``weights`` are fp32 whatever the precision of its passes; AdamW and Reptile work on those."""

    def __init__(self, model: Llama, settings: Train, device: torch.device, end_of_text: int, is_sharded: bool) -> None:
        self.model, self.device = model, device
        self.weights: dict[str, Tensor] = dict(model.named_parameters())
        self.uses_compiler = settings.compile
        self._end_of_text, self._is_sharded = end_of_text, is_sharded
        self._masks_documents = settings.document_mask
        # FSDP casts weights by itself, so that it sends 16 bits and not 32.
        self._autocasts = settings.precision == "bf16" and not is_sharded

    @classmethod
    def load(cls, folder: Path, settings: Train, group: ProcessGroup, end_of_text: int) -> TrainingModel:
        """The model of a checkpoint folder, prepared as ``settings`` say."""
        # FSDP takes its slices on the host, so that no GPU must hold the whole model.
        model = load_model(folder, torch.device("cpu") if group.is_launched else group.device)
        if settings.activation_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if settings.compile:
            for block in model.base_model.layers:
                block.compile(dynamic=False)
        elif group.device.type == "cpu" and settings.precision == "fp32":
            use_cpu_kernels(model)
        if group.is_launched:
            shard_model(model, group, settings.sharding, settings.precision)
        return cls(model, settings, group.device, end_of_text, is_sharded=group.is_launched)

    def losses(self, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of each next token of ``rows`` [n, context_length + 1], as ``chunked_cross_entropy`` returns them.

        ``weights`` [n] are those of the rows in the sum of losses.
        """
        inputs, targets = rows[:, :-1], rows[:, 1:]
        positions = document_positions(inputs, self._end_of_text) if self._masks_documents else None
        with self.precision():
            losses: tuple[Tensor, Tensor] = self.model(
                input_ids=inputs, position_ids=positions, use_cache=False, targets=targets, weights=weights
            )
        return losses

    def sync_gradients(self, now: bool) -> None:
        """Whether the next backward pass sums its gradients over replicas; see ``sharding.sync_gradients``."""
        if self._is_sharded:
            sync_gradients(self.model, now)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """What a forward pass runs in."""
        if not self._autocasts:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def without_compiler(self) -> contextlib.AbstractContextManager[Any]:
        """What passes of other sizes than a training batch run in, for which nothing should be compiled."""
        if not self.uses_compiler:
            return contextlib.nullcontext()
        eager: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return eager


def document_positions(inputs: Tensor, end_of_text: int) -> Tensor:
    """The position of each token in its document, int64 like ``inputs`` [n, length].

    A document begins with the end-of-text token before it, which predicts its first token, as in evaluation; one that
    the row cuts begins with the row.
    """
    positions = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    starts = torch.where(inputs == end_of_text, positions, 0)
    return positions - starts.cummax(dim=1).values
