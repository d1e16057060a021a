"""A training that compiles its blocks, killed and resumed; what was compiled serves every later job."""

import subprocess
from pathlib import Path

import pytest


def compiled(home: Path) -> dict[Path, int]:
    """The libraries that the compiler made, and when."""
    made = (home / ".cache" / "palimpsest" / "inductor").rglob("*.so")
    return {path: path.stat().st_mtime_ns for path in made}


@pytest.mark.slow
def test_a_killed_and_resumed_run_has_the_same_bytes_and_compiles_nothing_again(
    mer, command, stop_at, same_files, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    asked, inputs = mer
    asked = asked | {"train": asked["train"] | {"compile": True}}
    straight, out = tmp_path / "straight", tmp_path / "run"
    subprocess.run(command((asked, inputs), straight, 1000), check=True, timeout=240)
    made = compiled(tmp_path)
    assert made
    process = subprocess.Popen(command((asked, inputs), out, 3))
    stop_at(process, out, 9, process.kill)
    again = command((asked, inputs), out, 3)
    done = subprocess.run(again, check=True, capture_output=True, text=True, timeout=240)
    assert "resuming after step" in done.stderr
    same_files(out, straight)
    assert compiled(tmp_path) == made
