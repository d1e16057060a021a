"""The cost of replay in a step: a training with α = 0.25 over one with α = 0, steps alternating, from a cold disk.

Same model, batch and amount of data; a step reads its batch, then computes. Before each, the shards' pages are evicted
from the page cache. Nothing is prefetched, so this is an upper bound. ``step_time_ratio`` is the median over pairs of
steps, with its 95 % interval by bootstrap (``_low``, ``_high``). Both sides compute the same, and the noise of that
hides the difference: ``step_time_ratio_by_parts`` adds the median time to read each side's batch to one median time of
computation.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import conclude
from benchmarks.training_data import LANGUAGES, drop, lineage, random_model, token_folder
from palimpsest.experiment.build_specs import pool_spec
from palimpsest.replay.build_pool import build_pool
from palimpsest.settings.model import Model
from palimpsest.train.data import Batches

_RATES, _VOCABULARY = (0.0, 0.25), 4096
Pair = tuple[float, float]


def main() -> None:
    """Print the time of each part of a step, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--context-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--gigabytes", type=float, default=1)
    options = parser.parse_args()
    training = Training(Model(preset=options.preset), options.context_length)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokens = {
            language: token_folder(folder / language, options.gigabytes / 2, _VOCABULARY) for language in LANGUAGES
        }
        train = {"steps": 10_000, "batch_size": options.batch_size, "context_length": options.context_length}
        sides = [_batches(folder, tokens, rate, train) for rate in _RATES]
        taken = []
        for step in range(options.repeats + 2):
            pair = {}
            for side in (0, 1) if step % 2 else (1, 0):  # so that neither side is always second
                drop(folder)
                pair[side] = training.step(sides[side], step)
            taken.append((pair[0], pair[1]))
    _conclude(np.array(taken[2:]), options.preset)


def _batches(folder: Path, tokens: dict[str, Path], rate: float, train: dict[str, int]) -> Batches:
    last = lineage("replay", train=train, replay={"rate": rate})
    if not last.replays:
        return Batches(last.training, tokens, None)
    build_pool(pool_spec(last.training), {"en": tokens["en"]}, folder / "pool")
    return Batches(last.training, tokens, folder / "pool")


class Training:
    """A model, and a step of training with its time."""

    def __init__(self, model: Model, context_length: int) -> None:
        self._model = random_model(model, context_length, _VOCABULARY)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), fused=True)

    def step(self, batches: Batches, step: int) -> Pair:
        """Seconds to read the batch, and to compute."""
        began = time.perf_counter()
        rows, _ = batches[step]
        read = time.perf_counter()
        ids = torch.from_numpy(rows) % _VOCABULARY
        logits = self._model(input_ids=ids[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return read - began, time.perf_counter() - read


def _conclude(taken: np.ndarray, preset: str) -> None:
    """``taken``: seconds [pairs, side, part]."""
    ratios = taken[:, 1].sum(axis=1) / taken[:, 0].sum(axis=1)
    rng = np.random.default_rng(0)
    resampled = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(resampled, (0.025, 0.975))
    read, compute = np.median(taken[:, :, 0], axis=0), float(np.median(taken[:, :, 1]))
    print(f"{preset}: computation {1e3 * compute:.1f} ms; to read a batch, by rate:", end=" ")
    print(", ".join(f"{rate}: {1e3 * one:.3f} ms" for rate, one in zip(_RATES, read, strict=True)))
    figures = {
        "step_time_ratio": statistics.median(ratios.tolist()),
        "step_time_ratio_low": float(low),
        "step_time_ratio_high": float(high),
        "step_time_ratio_by_parts": float((compute + read[1]) / (compute + read[0])),
    }
    conclude("replay_overhead", "the same training without replay", len(ratios), figures)


if __name__ == "__main__":
    main()
