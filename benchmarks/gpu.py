"""On a CUDA GPU: MFU of the paper's presets, and the cost of replay, MER and FSDP2: a table for docs/performance.md.

All numbers come from the training command as a user runs it, from the times between the ends of optimiser steps. MFU
divides the FLOPs of model/flops.py by the dense bf16 peak. Replay: steps with α = 0.25 over steps with α = 0. MER:
1 + (steps with k = 1 - steps without) / (500 · steps without), since an interpolation every 500 steps is below the
noise. FSDP2: steps with the weights sharded over one rank over steps without. The text is noise, with the Llama-3
vocabulary, at a context of 2048. Before the table: the error of Reptile under bf16 against float64 on the GPU.
"""

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks import conclude
from benchmarks.loader import CONTEXT, VOCABULARY
from benchmarks.training_data import LANGUAGES, OURS, lineage, prepare, seconds_a_step, token_folder
from palimpsest.artifact import read_manifest
from palimpsest.model.devices import peak_flops
from palimpsest.train.reptile import Reptile

_WARM, _INTERVAL = 5, 500
_ONE_RANK = """
import os
os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
"""


def main() -> None:
    """Print the table; exits with a message where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["99M", "560M", "1B"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="that are timed in each run")
    parser.add_argument(
        "--train",
        type=json.loads,
        default={"micro_batch_size": 8, "precision": "bf16", "compile": True},
        help="JSON: other keys of train",
    )
    parser.add_argument(
        "--peak-tflops", type=float, help="dense bf16 peak of a GPU that is not in the table of model/devices.py"
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: this benchmark measures one")
    name = torch.cuda.get_device_name()
    peak = options.peak_tflops * 1e12 if options.peak_tflops else peak_flops(name)
    if peak is None:
        sys.exit(f"{name}: unknown peak; set it with --peak-tflops")
    print(f"{datetime.now(UTC).date()}, {name}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{options.batch_size} sequences of {CONTEXT} tokens, train: {json.dumps(options.train)}\n")
    print(f"Reptile under bf16: at most {_reptile_ulps():.2f} units in the last place from float64's lerp\n")
    print("| preset | tokens/s | MFU | replay: step time ratio | MER: step time ratio | FSDP2: step time ratio |")
    print("|---|---|---|---|---|---|")
    figures = {preset: _measure(preset, peak, options) for preset in options.presets}
    ratios = {f"{name}_{preset}": value for preset, found in figures.items() for name, value in found.items()}
    conclude("gpu", f"{name}, dense bf16 peak {peak:.3g} FLOP/s", options.steps, ratios)


def _measure(preset: str, peak: float, options: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = {language: token_folder(folder / language, 1, VOCABULARY) for language in LANGUAGES}
        plain = _seconds(folder, "sequential", preset, tokens, options)
        replay = _seconds(folder, "replay", preset, tokens, options)
        mer = _seconds(folder, "mer", preset, tokens, options)
        sharded = _seconds(folder, "sequential", preset, tokens, options, _ONE_RANK)
        flops = read_manifest(folder / "init", "run").counts["training_flops_per_token"]
    tokens_per_s = options.batch_size * CONTEXT / plain
    found = {
        "mfu": tokens_per_s * flops / peak,
        "replay_step_time_ratio": replay / plain,
        "mer_step_time_ratio": 1 + (mer - replay) / (_INTERVAL * replay),
        "fsdp_step_time_ratio": sharded / plain,
    }
    mfu, *over = found.values()
    cells = " | ".join(f"{ratio:.5f}" for ratio in over)
    print(f"| {preset} | {tokens_per_s:,.0f} | {mfu:.1%} | {cells} |", flush=True)
    return found


def _reptile_ulps() -> float:
    """The largest error of an interpolated weight against float64, after a step under bf16 autocast."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(1024, 1024, device="cuda")
    weights = list(layer.parameters())
    optimizer, reptile = torch.optim.AdamW(weights, lr=1e-3, fused=True), Reptile(weights, 1, 0.1)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = layer(torch.randn(64, 1024, device="cuda")).square().mean()
    before = [weight.detach().double().cpu().numpy() for weight in weights]
    loss.backward()
    optimizer.step()
    after = [weight.detach().double().cpu().numpy() for weight in weights]
    reptile.after_step(1, last=False)
    distances = [
        np.abs(weight.detach().cpu().numpy() - (old + 0.1 * (new - old)))
        / np.spacing(np.maximum(np.abs(old), np.abs(new)).astype(np.float32))
        for weight, old, new in zip(weights, before, after, strict=True)
    ]
    return float(max(distance.max() for distance in distances))


def _seconds(folder: Path, arm: str, preset: str, tokens: dict[str, Path], options: Any, prelude: str = "") -> float:
    """Seconds of a step of the second stage of an arm."""
    train = {
        "steps": options.steps + _WARM, "batch_size": options.batch_size, "context_length": CONTEXT,
        "eval_interval": 10_000, "checkpoint_interval": 10_000, **options.train,
    }  # fmt: skip
    stage = lineage(
        arm, model={"preset": preset}, tokenizer={"vocab_size": VOCABULARY}, train=train, mer={"interval": 1}
    )
    arguments = prepare(folder, stage, tokens, VOCABULARY)
    more = ["--out", str(folder / "runs" / (arm + ("-spread" if prelude else "")))]
    return seconds_a_step(prelude + OURS, [*arguments, *more], _WARM)


if __name__ == "__main__":
    main()
