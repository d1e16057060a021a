"""What a job takes of its machine's memory, in MB (10^6 bytes): what its rule asks a scheduler for.

Models are looked at in folders that ``train`` wrote; FileNotFoundError says that there is none yet. What is on a card
takes nothing of the machine's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from palimpsest.artifact import read_json
from palimpsest.settings.training import Train

# Python, torch and what they load, with room for the files that are read.
_PROCESS = 2000
# Bytes for a parameter: the weights as they are read; weights, gradients, two moments and the Reptile anchor; the
# copies that a checkpoint is written from while training goes on; what FSDP gathers and reduces in each process.
_WEIGHTS, _STATE, _COPIES, _GATHERED = 4, 4 + 4 + 8 + 4, 4 + 8 + 4, 8
# Bytes for each token in a block: for a unit of its width and of its MLP's, kept for the gradient; and for a unit of
# the width from block to block.
_WIDTH, _MLP, _BETWEEN = 40, 24, 4
# Bytes for a logit, its logarithm, and the copies that are made on the way.
_LOGIT = 4 * 4
# As held_out_loss.py has it: so many logits at once, or those of one window.
_LOGITS = 2**28


def training_mb(parent: Path, on_card: bool, train: Train) -> int:
    """Of all processes of a training with the settings ``train`` that goes on from ``parent``."""
    parameters, config = _read(parent)
    processes = train.processes
    # Every process reads the weights whole, before it keeps its slice of them.
    state = _COPIES + processes * _WEIGHTS
    if on_card:
        return int(processes * _PROCESS + state * parameters // 10**6)
    state += _STATE * (1 if train.sharding == "fsdp" else processes)
    state += _GATHERED * processes if processes > 1 else 0
    rows = min(train.micro_batch_size or train.batch_size, -(-train.batch_size // processes))
    tokens, layers = rows * train.context_length, config["num_hidden_layers"]
    blocks = 1 if train.activation_checkpointing else layers
    kept = blocks * _block(config) + layers * config["hidden_size"] * _BETWEEN
    # Batches and held-out windows are not in memory at a time.
    passing = max(tokens * kept, _capped(config, rows, train.context_length))
    return int(processes * _PROCESS + (state * parameters + processes * passing) // 10**6)


def evaluation_mb(run: Path, on_card: bool, batch_size: int, context_length: int) -> int:
    """Of a process that asks ``run`` for losses of batches of windows of ``context_length`` tokens."""
    parameters, config = _read(run)
    passing = _capped(config, batch_size, context_length)
    return _PROCESS + (_WEIGHTS * parameters + (0 if on_card else passing)) // 10**6


def tasks_mb(run: Path, on_card: bool, batch_size: int) -> int:
    """Of a process that asks ``run`` for all logits of batches of prompts, which may be as long as it can take."""
    parameters, config = _read(run)
    tokens = batch_size * int(config["max_position_embeddings"])
    passing = tokens * (int(config["vocab_size"]) * _LOGIT + _block(config))
    return _PROCESS + (_WEIGHTS * parameters + (0 if on_card else passing)) // 10**6


def _capped(config: dict[str, Any], rows: int, length: int) -> int:
    """Bytes of logits as held_out_loss.py holds them, and of the block before."""
    window = length * int(config["vocab_size"])
    return _LOGIT * max(window, min(rows * window, _LOGITS)) + rows * length * _block(config)


def _block(config: dict[str, Any]) -> int:
    """Bytes that a block of the model keeps for each token."""
    return int(config["hidden_size"] * _WIDTH + config["intermediate_size"] * _MLP)


def _read(run: Path) -> tuple[int, defaultdict[str, Any]]:
    """The number of parameters and the sizes in the config of a model, 0 where it has one under another name."""
    manifest = json.loads((run / "manifest.json").read_text())
    return int(manifest["counts"]["parameters"]), defaultdict(int, read_json(run / "config.json"))
