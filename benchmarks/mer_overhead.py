"""The cost of Reptile: the time of an interpolation over k steps, and the anchor's bytes over the weights'.

The two times are measured separately and combined as 1 + interpolation / (k · step), since the difference of whole
trainings is below the noise of a step.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmarks import conclude
from benchmarks.training_data import random_model
from palimpsest.settings.model import Model
from palimpsest.train.reptile import Reptile

_INTERVAL, _CONTEXT, _BATCH, _VOCABULARY = 500, 256, 16, 4096


def main() -> None:
    """Print the measurements for a preset on this machine's CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    model = random_model(Model(preset=options.preset), _CONTEXT, _VOCABULARY)
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, fused=True)
    rows = torch.randint(0, _VOCABULARY, (_BATCH, _CONTEXT + 1))
    reptile = Reptile(weights, 1, 0.5)

    def step() -> None:
        logits = model(input_ids=rows[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    steps = _seconds(step, options.repeats)
    interpolations = _seconds(lambda: reptile.after_step(1, last=False), options.repeats)
    print(f"{options.preset}: {sum(w.numel() for w in weights):,} parameters, {torch.get_num_threads()} threads")
    print(f"step {1e3 * steps:.2f} ms, interpolation {1e3 * interpolations:.3f} ms, median of {options.repeats}")
    conclude(
        "mer_overhead",
        "the same training without Reptile",
        options.repeats,
        {
            "step_time_ratio": 1 + interpolations / (_INTERVAL * steps),
            "extra_memory_over_weights": _bytes(reptile.anchor) / _bytes(weights),
        },
    )


def _seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    main()
