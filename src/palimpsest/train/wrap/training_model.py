"""The model as it is trained: spread over processes, in the asked precision, checkpointed and compiled."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from palimpsest.model.hf_checkpoint import load_model
from palimpsest.model.llama import use_cpu_kernels
from palimpsest.train.distributed.process_group import Ranks
from palimpsest.train.distributed.sharding import spread


class Network:
    """``model`` holds fp32 weights, whatever the precision of the passes; AdamW and Reptile work on those."""

    def __init__(self, folder: Path, settings: dict[str, Any], ranks: Ranks, end_of_text: int) -> None:
        self._settings, self._device, self._end_of_text = settings, ranks.device, end_of_text
        self._autocast = settings["precision"] == "bf16" and not ranks.launched
        # FSDP takes its slices on the host, so that no card must hold the whole model.
        self.model = load_model(folder, torch.device("cpu") if ranks.launched else ranks.device)
        if settings["activation_checkpointing"]:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if settings["compile"]:
            for block in self.model.base_model.layers:
                block.compile(dynamic=False)
        elif ranks.device.type == "cpu" and settings["precision"] == "fp32":
            use_cpu_kernels(self.model)
        if ranks.launched:
            spread(self.model, ranks, settings["sharding"], settings["precision"])
        self.names: dict[Tensor, str] = {weight: name for name, weight in self.model.named_parameters()}

    def losses(self, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of each next token of ``rows`` [n, context_length + 1]: what ``chunked_cross_entropy`` returns."""
        inputs, targets = rows[:, :-1], rows[:, 1:]
        # transformers separates documents where positions begin anew, if there is no other mask and no cache.
        positions = document_positions(inputs, self._end_of_text) if self._settings["document_mask"] else None
        with self.precision():
            found: tuple[Tensor, Tensor] = self.model(
                input_ids=inputs, position_ids=positions, use_cache=False, targets=targets, weights=weights
            )
        return found

    def send_gradients(self, now: bool) -> None:
        """Whether the next backward pass sums its gradients over processes, or leaves that to a later micro-batch.

        Slices are sent every time: what is kept whole until the last micro-batch would be the size of the model.
        """
        if isinstance(self.model, FSDPModule):
            self.model.set_requires_all_reduce(now)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """What a forward pass runs in. FSDP casts for itself, so that it sends 16 bits and not 32."""
        if not self._autocast:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)


def document_positions(inputs: Tensor, end_of_text: int) -> Tensor:
    """The place of each token in its document, int64 like ``inputs`` [n, length].

    A document begins with the end-of-text token before it, which predicts its first token, as in evaluation; one that
    the row cuts begins with the row.
    """
    places = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    begins = torch.where(inputs == end_of_text, places, 0)
    return places - begins.cummax(dim=1).values
