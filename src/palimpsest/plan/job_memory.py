"""Host memory of a job in MB (10^6 bytes), which its rule requests from the scheduler.

The size of the model is read from its checkpoint; raises FileNotFoundError if that does not exist yet. Tensors on a GPU
are not counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from palimpsest.artifact import read_json
from palimpsest.settings.training import Train

# Python, torch and other libraries, with room for the files that are read.
_PROCESS = 2000
# Bytes per parameter: the weights as they are read; weights, gradients, two moments and the Reptile anchor; the
# copies that a checkpoint is written from while training continues; the buffers of FSDP in each process.
_WEIGHTS, _STATE, _COPIES, _GATHERED = 4, 4 + 4 + 8 + 4, 4 + 8 + 4, 8
# Bytes of activations per token, stored for the backward pass: in a block, per unit of its width and of its MLP's
# width; between blocks, per unit of the width.
_WIDTH, _MLP, _BETWEEN = 40, 24, 4
# Bytes per logit: the logit, its log probability, and temporary copies.
_LOGIT = 4 * 4
# The limit of model/held_out_loss.py (a test compares them): so many logits at once, or those of one window.
_LOGITS = 2**28


@dataclass(frozen=True, kw_only=True)
class _Dimensions:
    """The size of a model from its manifest and config; 0 for keys that the config of its architecture lacks."""

    parameters: int
    layers: int
    width: int
    mlp_width: int
    vocab_size: int
    context_length: int

    @property
    def block_bytes(self) -> int:
        """Bytes of activations that a block stores per token."""
        return self.width * _WIDTH + self.mlp_width * _MLP

    def held_out_bytes(self, rows: int, length: int) -> int:
        """Bytes of the logits that model/held_out_loss.py computes at once, and of the activations of one block."""
        window = length * self.vocab_size
        return _LOGIT * max(window, min(rows * window, _LOGITS)) + rows * length * self.block_bytes


def training_mb(parent: Path, on_gpu: bool, train: Train) -> int:
    """All ranks of a training run with the settings ``train`` that starts from ``parent``."""
    model, processes = _read_dimensions(parent), train.processes
    # Every rank reads all weights before it discards all but its slice.
    state = _COPIES + processes * _WEIGHTS
    if on_gpu:
        return int(processes * _PROCESS + state * model.parameters // 10**6)
    state += _STATE * (1 if train.sharding == "fsdp" else processes)
    state += _GATHERED * processes if processes > 1 else 0
    rows = min(train.micro_batch_size or train.batch_size, -(-train.batch_size // processes))
    tokens = rows * train.context_length
    blocks = 1 if train.activation_checkpointing else model.layers
    token_bytes = blocks * model.block_bytes + model.layers * model.width * _BETWEEN
    # Training batches and held-out windows are never in memory together.
    activations = max(tokens * token_bytes, model.held_out_bytes(rows, train.context_length))
    return int(processes * _PROCESS + (state * model.parameters + processes * activations) // 10**6)


def evaluation_mb(run: Path, on_gpu: bool, batch_size: int, context_length: int) -> int:
    """A process that computes the losses of batches of windows of ``context_length`` tokens."""
    model = _read_dimensions(run)
    activations = 0 if on_gpu else model.held_out_bytes(batch_size, context_length)
    return _PROCESS + (_WEIGHTS * model.parameters + activations) // 10**6


def tasks_mb(run: Path, on_gpu: bool, batch_size: int) -> int:
    """A process that computes all logits of batches of prompts as long as the model's context."""
    model = _read_dimensions(run)
    tokens = 0 if on_gpu else batch_size * model.context_length
    return _PROCESS + (_WEIGHTS * model.parameters + tokens * (model.vocab_size * _LOGIT + model.block_bytes)) // 10**6


def _read_dimensions(run: Path) -> _Dimensions:
    manifest = json.loads((run / "manifest.json").read_text())
    config = read_json(run / "config.json")
    return _Dimensions(
        parameters=manifest["counts"]["parameters"],
        layers=config.get("num_hidden_layers", 0),
        width=config.get("hidden_size", 0),
        mlp_width=config.get("intermediate_size", 0),
        vocab_size=config.get("vocab_size", 0),
        context_length=config.get("max_position_embeddings", 0),
    )
