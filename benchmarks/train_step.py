"""A training step against Hugging Face's Trainer, and its FLOP/s against the best sgemm, on the CPU.

Both sides train the same model from the same weights on sequences of the same length with fused AdamW, clipping and a
cosine, in fp32, each in its own process with the same number of threads, alternating. The time of a step is that
between the ends of two optimiser steps, which includes reading, logging and the schedule, and excludes start and end.
Tokens/s are of a run's median step. Products of square matrices are timed before and after each of our runs; the best
is the peak. It is compared with the median and with the fastest step of the run, since on a shared machine the median
depends on the neighbours. Ratios are medians over the rounds. FLOPs are those of palimpsest.model.flops. The ratio over
the Trainer is that of the worse preset.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import conclude
from benchmarks.training_data import LANGUAGES, OURS, lineage, prepare, seconds_a_step, step_seconds, token_folder
from palimpsest.artifact import read_manifest
from palimpsest.codec import fingerprint_fields

_VOCABULARY = {"nano": 2048, "tiny": 4096, "small": 8192}
_CONTEXT, _WARM = 256, 2
_SIZES = (512, 768, 1024, 1536, 2048)

_TRAINER = """
import numpy as np
from torch.optim.optimizer import register_optimizer_step_post_hook
from pathlib import Path
from transformers import LlamaForCausalLM, Trainer, TrainingArguments
from palimpsest.tokens.sequences import Sequences
register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
model, tokens, out, settings = *sys.argv[1:4], json.loads(sys.argv[4])
torch.set_num_threads(settings["threads"])
count, context = settings["steps"] * settings["batch_size"], settings["context_length"]
rows = Sequences(Path(tokens), "train", context - 1).read(np.arange(count))
data = [{"input_ids": row, "labels": row} for row in torch.from_numpy(rows)]
arguments = TrainingArguments(
    output_dir=out, use_cpu=True, max_steps=settings["steps"], per_device_train_batch_size=settings["batch_size"],
    learning_rate=settings["learning_rate"], lr_scheduler_type="cosine", warmup_steps=settings["steps"] // 20,
    weight_decay=settings["weight_decay"], adam_beta1=settings["beta1"], adam_beta2=settings["beta2"],
    adam_epsilon=settings["epsilon"], max_grad_norm=settings["grad_clip"], optim="adamw_torch_fused",
    save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
)
Trainer(LlamaForCausalLM.from_pretrained(model), arguments, train_dataset=data).train()
print(json.dumps(ends))
"""


def main() -> None:
    """Print the speeds of each preset, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["tiny", "small"], choices=_VOCABULARY)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="that are timed in each run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="let our side compile its blocks, before what is timed")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    over_trainer, over_peak, fastest_over_peak = [], 0.0, 0.0
    for preset in options.presets:
        with tempfile.TemporaryDirectory() as folder:
            turns = _turns(Path(folder), preset, options)
        ours, theirs, _, _, peak = (statistics.median(each) for each in zip(*turns, strict=True))
        over_trainer.append(statistics.median(turn[0] / turn[1] for turn in turns))
        over_peak, fastest_over_peak = (statistics.median(turn[n] / turn[4] for turn in turns) for n in (2, 3))
        print(f"{preset}: ours {ours:,.0f} tokens/s, Trainer {theirs:,.0f}; {over_trainer[-1]:.3f} times;", end=" ")
        print(f"median step {over_peak:.3f} of {peak / 1e9:.1f} GFLOP/s, fastest step {fastest_over_peak:.3f}")
    ratios = {
        "tokens_per_s_over_hf_trainer": min(over_trainer),
        "flops_over_sgemm_peak": over_peak,
        "fastest_flops_over_sgemm_peak": fastest_over_peak,
    }
    peer = f"Hugging Face Trainer; torch.mm of {_SIZES} squares, {options.threads} threads"
    conclude("train_step", peer, options.repeats, ratios)


def _turns(folder: Path, preset: str, options: Any) -> list[tuple[float, float, float, float, float]]:
    """For each round: our tokens/s, the Trainer's; the FLOP/s of our median step, our fastest, and the best product."""
    vocabulary = _VOCABULARY[preset]
    train = {
        "steps": options.steps + _WARM, "batch_size": options.batch_size, "context_length": _CONTEXT,
        "threads": options.threads, "eval_interval": 10_000, "checkpoint_interval": 10_000, "compile": options.compile,
    }  # fmt: skip
    last = lineage("sequential", model={"preset": preset}, tokenizer={"vocab_size": vocabulary}, train=train)
    _initial, first, _french = last
    tokens = {language: token_folder(folder / language, 0.01, vocabulary) for language in LANGUAGES}
    ours = prepare(folder, first, tokens, vocabulary)
    flops = read_manifest(folder / "init", "run").counts["training_flops_per_token"]
    theirs = [
        str(folder / "init"),
        str(tokens["en"]),
        str(folder / "trainer"),
        json.dumps(fingerprint_fields(first.training.train)),
    ]
    turns, batch_tokens = [], options.batch_size * _CONTEXT
    for number in range(options.repeats):
        peak = _peak()
        steps = step_seconds(OURS, [*ours, "--out", str(folder / str(number))], _WARM)
        mine, fastest = batch_tokens / statistics.median(steps), batch_tokens / min(steps)
        peak = max(peak, _peak())
        other = batch_tokens / seconds_a_step(_TRAINER, theirs, _WARM)
        turns.append((mine, other, mine * flops, fastest * flops, peak))
    return turns


def _peak() -> float:
    """FLOP/s of the fastest of some products."""
    best = 0.0
    for size in _SIZES:
        one, two = torch.randn(size, size), torch.randn(size, size)
        for _ in range(4):
            began = time.perf_counter()
            torch.mm(one, two)
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


if __name__ == "__main__":
    main()
