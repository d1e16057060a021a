"""The data loader against the demand of a GPU: tokens per second of whole batches over what one H200 would train on.

The demand is arithmetic: 989 TFLOP/s (bf16, dense) at 50 % MFU over the training FLOPs of a token of the 560M preset
with the Llama-3 vocabulary at a context of 2048 (model/flops.py). The batches are those of a second stage, 25 %
replayed, 4096 sequences each, from int32 shards in a temporary folder that fits in the page cache. For ``cold``, the
pages are evicted before every batch (fadvise), so that it measures the disk. One thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from transformers import LlamaConfig

from benchmarks import conclude
from benchmarks.training_data import LANGUAGES, drop, lineage, token_folder, touch
from palimpsest.experiment.build_specs import pool_spec
from palimpsest.model.flops import training_flops_per_token
from palimpsest.replay.build_pool import build_pool
from palimpsest.settings.model import Model
from palimpsest.train.data import Batches

H200_FLOPS, MFU = 989e12, 0.5
VOCABULARY, CONTEXT = 128_256, 2048


def main() -> None:
    """Print the need, the speeds warm and cold, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3, help="of shards, both languages together")
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--folder", type=Path, help="where the shards are written meanwhile; default: the system's temporary folder"
    )
    options = parser.parse_args()
    flops = training_flops_per_token(_config_560m(), CONTEXT)
    need = H200_FLOPS * MFU / flops
    print(
        f"560M: {flops:,} FLOPs a token; an H200 at {MFU:.0%} of {H200_FLOPS:.3g} FLOP/s trains on {need:,.0f} tokens/s"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        batches = _batches(folder, options.gigabytes / 2, options.batch_size)
        repeats = min(options.repeats, len(batches) - 1)
        touch(folder)
        speeds = {"warm": list(_speeds(batches, repeats, lambda: None))}
        speeds["cold"] = list(_speeds(batches, repeats, lambda: drop(folder)))
    for state, rates in speeds.items():
        print(f"{state}: {statistics.median(rates):,.0f} tokens/s, {min(rates):,.0f} to {max(rates):,.0f}")
    ratios = {state: statistics.median(rates) / need for state, rates in speeds.items()}
    peer = f"one H200 at {MFU:.0%} MFU of the 560M preset, {need:,.0f} tokens/s"
    conclude(
        "loader",
        peer,
        len(speeds["warm"]),
        {"tokens_per_s_over_h200_need": ratios["warm"], "cold_tokens_per_s_over_h200_need": ratios["cold"]},
    )


def _config_560m() -> LlamaConfig:
    """The shape of the 560M preset with the Llama-3 vocabulary."""
    shape = Model(preset="560M").sizes
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape["width"],
        intermediate_size=shape["ffn"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
    )


def _batches(folder: Path, gigabytes: float, batch_size: int) -> Batches:
    """The batches of a second stage that reads ``gigabytes`` of its language once, with as much of the one before."""
    tokens = {language: token_folder(folder / language, gigabytes, VOCABULARY) for language in LANGUAGES}
    steps = int(gigabytes * 1e9 / 4 / CONTEXT) // batch_size
    train = {"steps": steps, "batch_size": batch_size, "context_length": CONTEXT}
    last = lineage("replay", train=train, replay={"rate": 0.25})
    build_pool(pool_spec(last.training), {"en": tokens["en"]}, folder / "pool")
    return Batches(last.training, tokens, folder / "pool")


def _speeds(batches: Batches, repeats: int, before: Callable[[], None]) -> Iterator[float]:
    for step in range(repeats + 1):
        before()
        began = time.perf_counter()
        rows, _ = batches[step]
        if step:  # the first one opens the shards
            yield rows[:, 1:].size / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
