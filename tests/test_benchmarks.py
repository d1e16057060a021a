"""The convention that all benchmarks keep: one JSON object as the last line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "ratios"),
    [
        (["mer_overhead"], {"step_time_ratio": (1 + 1e-12, 1.1), "extra_memory_over_weights": (1, 1)}),
        (["replay_overhead", "--gigabytes", "0.02"], {"step_time_ratio": (0, 10)}),
        (["resume"], {"start_ratio": (0, 10)}),
    ],
)
def test_the_last_line_is_the_conclusion(command, ratios):
    said = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:], "--preset", "nano", "--repeats", "2"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    last = json.loads(said.splitlines()[-1])
    assert set(last) == {"name", "peer", "n", "ratios"}
    assert last["name"] == command[0] and last["n"] == 2
    for name, (low, high) in ratios.items():
        assert low <= last["ratios"][name] <= high, name
