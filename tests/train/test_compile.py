"""A training that compiles its blocks, beside one that does not, and killed and resumed."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


def compiled(home: Path) -> dict[Path, int]:
    """The libraries that the compiler made, and when."""
    made = (home / ".cache" / "palimpsest" / "inductor").rglob("*.so")
    return {path: path.stat().st_mtime_ns for path in made}


@pytest.mark.slow
def test_compiled_weights_are_close_and_a_resumed_run_has_the_same_bytes_and_compiles_nothing_again(
    mer, straight, command, stop_at, same_files, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    asked, inputs = mer
    asked = asked | {"train": asked["train"] | {"compile": True}}
    whole, out = tmp_path / "whole", tmp_path / "run"
    subprocess.run(command((asked, inputs), whole, 1000), check=True, timeout=240)
    made = compiled(tmp_path)
    assert made
    eager, weights = load_file(straight / "model.safetensors"), load_file(whole / "model.safetensors")
    for name in eager:
        torch.testing.assert_close(weights[name], eager[name], rtol=2e-3, atol=2e-4)
    process = subprocess.Popen(command((asked, inputs), out, 3))
    stop_at(process, out, 9, process.kill)
    again = command((asked, inputs), out, 3)
    done = subprocess.run(again, check=True, capture_output=True, text=True, timeout=240)
    assert "resuming after step" in done.stderr
    same_files(out, whole)
    assert compiled(tmp_path) == made
