"""A training that compiles its blocks, beside one that does not, and killed and resumed."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from palimpsest.train.trainer import train


def compiled(home: Path) -> dict[Path, int]:
    """The libraries that the compiler made, and when."""
    made = (home / ".cache" / "palimpsest" / "inductor").rglob("*.so")
    return {path: path.stat().st_mtime_ns for path in made}


@pytest.mark.slow
def test_compiled_weights_are_close_and_a_resumed_run_and_the_next_stage_compile_nothing_again(
    mer, spec, straight, command, close, stop_at, same_files, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    asked, inputs = mer
    asked = asked | {"train": asked["train"] | {"compile": True}}
    whole, out = tmp_path / "whole", tmp_path / "run"
    subprocess.run(command((asked, inputs), whole, 1000), check=True, timeout=240)
    made = compiled(tmp_path)
    assert made
    close(whole, straight, "model.safetensors")
    process = subprocess.Popen(command((asked, inputs), out, 3))
    stop_at(process, out, 9, process.kill)
    again = command((asked, inputs), out, 3)
    done = subprocess.run(again, check=True, capture_output=True, text=True, timeout=240)
    assert "resuming after step" in done.stderr
    same_files(out, whole)
    assert compiled(tmp_path) == made
    # The next stage too runs what is there, which sums in another order than what is not compiled.
    following, eager = spec(3, "de", compile=True), spec(3, "de")
    inputs = replace(inputs, parent=whole, pool=None)
    subprocess.run(command((following, inputs), tmp_path / "de", 1000), check=True, timeout=240)
    assert compiled(tmp_path) == made
    train(eager, inputs, tmp_path / "eager", 1000)
    weights, others = (load_file(tmp_path / run / "model.safetensors") for run in ("de", "eager"))
    assert any(not torch.equal(weights[name], others[name]) for name in others)
    close(tmp_path / "de", tmp_path / "eager", "model.safetensors")
