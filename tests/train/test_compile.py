"""A training that compiles its blocks, beside one that does not, and killed and resumed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.training import LIMIT_S, Stage, assert_close_tensors, assert_same_files, stop_at, train_spec


def compiled_libraries(home: Path) -> dict[Path, int]:
    """The libraries that the compiler wrote, and when."""
    libraries = (home / ".cache" / "palimpsest" / "inductor").rglob("*.so")
    return {path: path.stat().st_mtime_ns for path in libraries}


@pytest.mark.slow
def test_compiled_weights_are_close_and_neither_a_resumed_run_nor_the_next_stage_compiles_again(
    mer: Stage, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    compiled = mer.with_settings(compile=True)
    whole, out = tmp_path / "whole", tmp_path / "run"
    subprocess.run(compiled.command(whole), check=True, timeout=LIMIT_S)
    libraries = compiled_libraries(tmp_path)
    assert libraries
    assert_close_tensors(whole, straight, "model.safetensors")
    command = compiled.with_settings(checkpoint_interval=3).command(out)
    process = subprocess.Popen(command)
    stop_at(process, out, 9, process.kill)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    assert "resuming after step" in done.stderr
    assert_same_files(out, whole)
    assert compiled_libraries(tmp_path) == libraries
    # The next stage runs the same code, which sums in another order than what is not compiled.
    eager = replace(compiled.with_inputs(parent=whole, pool=None), spec=train_spec(3, "de"))
    subprocess.run(eager.with_settings(compile=True).command(tmp_path / "de"), check=True, timeout=LIMIT_S)
    assert compiled_libraries(tmp_path) == libraries
    eager.train(tmp_path / "eager")
    weights, others = (load_file(tmp_path / run / "model.safetensors") for run in ("de", "eager"))
    assert any(not torch.equal(weights[name], others[name]) for name in others)
    assert_close_tensors(tmp_path / "de", tmp_path / "eager", "model.safetensors")
