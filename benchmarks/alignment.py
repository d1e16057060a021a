"""The cost of measuring gradient alignment, spread over the steps between two measurements.

Trainings through the command line, each in its own process, alternating: with a measurement at every step and without,
for replay alone, and for MER with windows of one step, so that each step also measures before and after an
interpolation. The time of a step is that between the ends of two optimiser steps; ratios are medians over the rounds.
At the default interval i, ``step_time_ratio`` is 1 + (ratio - 1) / i. With MER, one window in every max(k, i) steps is
measured too: ``mer_step_time_ratio`` adds its cost over max(k, i) steps at the default k, ``mer_step_time_ratio_k500``
at the paper's k.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks import conclude
from benchmarks.training_data import LANGUAGES, OURS, lineage, prepare, seconds_a_step, token_folder
from palimpsest.settings.replay import Mer
from palimpsest.settings.training import Train

_VOCABULARY, _WARM, _PAPERS_WINDOW = 4096, 2, 500
_SIDES = {
    "replay": ("replay", None), "replay, measured": ("replay", 1), "MER": ("mer", None), "MER, measured": ("mer", 1),
}  # fmt: skip


def main() -> None:
    """Print the time of a step of each side, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--context-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="that are timed in each run")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        turns = [_turn(Path(folder), number, options) for number in range(options.repeats)]
    for side in _SIDES:
        print(f"{options.preset}, {side}: {1e3 * statistics.median(turn[side] for turn in turns):.1f} ms a step")
    at_step = statistics.median(turn["replay, measured"] / turn["replay"] for turn in turns) - 1
    with_window = statistics.median(turn["MER, measured"] / turn["MER"] for turn in turns) - 1
    interval, windows = Train().alignment_interval or 1, (Mer().interval, _PAPERS_WINDOW)
    step = 1 + at_step / interval
    default, papers = (step + (with_window - at_step) / max(window, interval) for window in windows)
    conclude(
        "alignment",
        f"the same training without measurements; interval {interval}, k = {windows[0]} and {windows[1]}",
        options.repeats,
        {"step_time_ratio": step, "mer_step_time_ratio": default, "mer_step_time_ratio_k500": papers},
    )


def _turn(folder: Path, number: int, options: argparse.Namespace) -> dict[str, float]:
    """Side → seconds per step, in an order that alternates with ``number``."""
    tokens = {language: folder / language for language in LANGUAGES}
    for token_path in tokens.values():
        if not token_path.exists():
            token_folder(token_path, 0.02, _VOCABULARY)
    seconds = {}
    for index in range(len(_SIDES)):
        side = list(_SIDES)[(index + number) % len(_SIDES)]
        arm, interval = _SIDES[side]
        train = {
            "steps": options.steps + _WARM, "batch_size": options.batch_size, "threads": options.threads,
            "context_length": options.context_length, "eval_interval": 100_000, "eval_tokens": 1,
            "alignment_interval": interval, "checkpoint_interval": 100_000,
        }  # fmt: skip
        replay = {"rate": 0.25, "accounting": "replace"}
        stage = lineage(arm, model={"preset": options.preset}, train=train, replay=replay, mer={"interval": 1})
        arguments = prepare(folder, stage, tokens, _VOCABULARY)
        out = folder / f"run-{number}-{index}"
        seconds[side] = seconds_a_step(OURS, [*arguments, "--out", str(out)], _WARM)
    return seconds


if __name__ == "__main__":
    main()
