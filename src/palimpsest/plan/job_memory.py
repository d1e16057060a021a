"""Host memory of a job in MB (10^6 bytes), which its rule requests from a scheduler.

The size of the model is read from the folder of its checkpoint; FileNotFoundError says that it does not exist yet.
What is on a GPU takes no host memory.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from palimpsest.artifact import read_json
from palimpsest.settings.training import Train

# Python, torch and their libraries, with room for the files that are read.
_PROCESS = 2000
# Bytes per parameter: the weights as they are read; weights, gradients, two moments and the Reptile anchor; the
# copies that a checkpoint is written from while training continues; what FSDP gathers and reduces in each process.
_WEIGHTS, _STATE, _COPIES, _GATHERED = 4, 4 + 4 + 8 + 4, 4 + 8 + 4, 8
# Bytes per token and block, kept for the gradient: per unit of the width, and of the MLP's; and per unit of the width
# between blocks.
_WIDTH, _MLP, _BETWEEN = 40, 24, 4
# Bytes per logit: the logit, its logarithm, and copies on the way.
_LOGIT = 4 * 4
# The limit of model/held_out_loss.py, which a test compares: so many logits at once, or those of one window.
_LOGITS = 2**28


def training_mb(parent: Path, on_gpu: bool, train: Train) -> int:
    """Of all processes of a training with the settings ``train`` that starts from ``parent``."""
    parameters, config = _read(parent)
    processes = train.processes
    # Every process reads all weights, before it keeps its slice of them.
    state = _COPIES + processes * _WEIGHTS
    if on_gpu:
        return int(processes * _PROCESS + state * parameters // 10**6)
    state += _STATE * (1 if train.sharding == "fsdp" else processes)
    state += _GATHERED * processes if processes > 1 else 0
    rows = min(train.micro_batch_size or train.batch_size, -(-train.batch_size // processes))
    tokens, layers = rows * train.context_length, config["num_hidden_layers"]
    blocks = 1 if train.activation_checkpointing else layers
    kept = blocks * _block_bytes(config) + layers * config["hidden_size"] * _BETWEEN
    # Batches and held-out windows are not in memory at the same time.
    activations = max(tokens * kept, _held_out_bytes(config, rows, train.context_length))
    return int(processes * _PROCESS + (state * parameters + processes * activations) // 10**6)


def evaluation_mb(run: Path, on_gpu: bool, batch_size: int, context_length: int) -> int:
    """A process that computes losses of batches of windows of ``context_length`` tokens."""
    parameters, config = _read(run)
    activations = _held_out_bytes(config, batch_size, context_length)
    return _PROCESS + (_WEIGHTS * parameters + (0 if on_gpu else activations)) // 10**6


def tasks_mb(run: Path, on_gpu: bool, batch_size: int) -> int:
    """A process that computes all logits of batches of prompts as long as the model's context."""
    parameters, config = _read(run)
    tokens = batch_size * int(config["max_position_embeddings"])
    activations = tokens * (int(config["vocab_size"]) * _LOGIT + _block_bytes(config))
    return _PROCESS + (_WEIGHTS * parameters + (0 if on_gpu else activations)) // 10**6


def _held_out_bytes(config: dict[str, Any], rows: int, length: int) -> int:
    """Bytes of the logits that model/held_out_loss.py holds at once, and of the block before."""
    window = length * int(config["vocab_size"])
    return _LOGIT * max(window, min(rows * window, _LOGITS)) + rows * length * _block_bytes(config)


def _block_bytes(config: dict[str, Any]) -> int:
    """Bytes that a block of the model keeps per token."""
    return int(config["hidden_size"] * _WIDTH + config["intermediate_size"] * _MLP)


def _read(run: Path) -> tuple[int, defaultdict[str, Any]]:
    """The number of parameters and the config of a model; a size that the config names otherwise counts as 0."""
    manifest = json.loads((run / "manifest.json").read_text())
    return int(manifest["counts"]["parameters"]), defaultdict(int, read_json(run / "config.json"))
