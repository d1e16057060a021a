"""The imports of the evaluation stages, which every job pays for."""

import subprocess
import sys

import pytest

LIGHT = {"torch", "transformers", "lm_eval", "datasets", "scipy", "pydantic"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("evaluate_checkpoint", LIGHT - {"torch"}),
        ("run_tasks", LIGHT),
        ("gather_results", LIGHT),
        ("gather_sweep", LIGHT),
        ("scaling_analysis", LIGHT - {"scipy"}),
        ("results.eval_all", LIGHT | {"numpy"}),
        ("results.sweep_results", LIGHT | {"numpy"}),
        ("results.scaling_results", LIGHT | {"numpy"}),
    ],
)
def test_a_stage_imports_only_what_it_needs(module: str, absent: set[str]) -> None:
    code = f"import sys, palimpsest.cli, palimpsest.evaluate.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not absent & set(done.stdout.split())
