"""The convention that all benchmarks keep: one JSON object as the last line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["mer_overhead", "--preset", "nano", "--repeats", "3"]])
def test_the_last_line_is_the_conclusion(command):
    said = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    last = json.loads(said.splitlines()[-1])
    assert set(last) == {"name", "peer", "n", "ratios"}
    assert last["name"] == command[0] and last["n"] == 3
    assert last["ratios"]["extra_memory_over_weights"] == 1.0
    assert 1 < last["ratios"]["step_time_ratio"] < 1.1
