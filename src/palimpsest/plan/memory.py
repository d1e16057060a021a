"""What a job takes of its machine's memory, in MB (10^6 bytes): what its rule asks a scheduler for.

Models are looked at in folders that ``train`` wrote; FileNotFoundError says that there is none yet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Python, torch and what they load, with room for the files that are read.
_PROCESS = 2000
# Bytes for a parameter: the weights as they are read; weights, gradients, two moments and the Reptile anchor; the
# copies that a checkpoint is written from while training goes on; what FSDP gathers and reduces in each process.
_WEIGHTS, _STATE, _COPIES, _GATHERED = 4, 4 + 4 + 8 + 4, 4 + 8 + 4, 8
# Bytes for each token and unit of the width: what a block keeps for its gradient, and what goes from block to block.
_BLOCK, _BETWEEN = 120, 4
# Bytes for a logit, its logarithm, and the copy that is made on the way.
_LOGIT = 3 * 4
# As losses.py has it: so many logits at once, or those of one window.
_LOGITS = 2**28


def training_mb(train: dict[str, Any], parent: Path, on_card: bool) -> int:
    """Of all processes of a training with the settings ``train`` that goes on from ``parent``.

    Where they have cards, weights and activations are there, and the host has the copies alone, which are less.
    """
    parameters, config = _read(parent)
    processes, layers = train["processes"], config["num_hidden_layers"]
    state = _COPIES + _STATE * (1 if train["sharding"] == "fsdp" else processes)
    state += processes * (_WEIGHTS + (_GATHERED if processes > 1 else 0))
    rows = min(train["micro_batch_size"] or train["batch_size"], -(-train["batch_size"] // processes))
    kept = _BLOCK + layers * _BETWEEN if train["activation_checkpointing"] else layers * _BLOCK
    activations = 0 if on_card else processes * rows * train["context_length"] * config["hidden_size"] * kept
    return int(processes * _PROCESS + (state * parameters + activations) // 10**6)


def evaluation_mb(run: Path, batch_size: int, context_length: int) -> int:
    """Of a process that asks ``run`` for losses of batches of windows of ``context_length`` tokens."""
    parameters, config = _read(run)
    window = context_length * config["vocab_size"]
    logits = max(window, min(batch_size * window, _LOGITS))
    activations = batch_size * context_length * config["hidden_size"] * _BLOCK
    return int(_PROCESS + (_WEIGHTS * parameters + _LOGIT * logits + activations) // 10**6)


def _read(run: Path) -> tuple[int, dict[str, Any]]:
    """The number of parameters and the config of a model."""
    manifest, config = (json.loads((run / name).read_text()) for name in ("manifest.json", "config.json"))
    return manifest["counts"]["parameters"], config
