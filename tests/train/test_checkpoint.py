"""Checkpoints as files: how many are kept, and what a process that dies while it writes one leaves behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from palimpsest.train.loop import train

# The thread that writes the second checkpoint never gets further than its first file.
SLOW = """
import sys, time
from palimpsest import cli
from palimpsest.train import checkpoint
write, seen = checkpoint.write_tensors, []

def write_slowly(tensors, path):
    write(tensors, path)
    seen.append(path.parent)
    if len(seen) == 4:
        time.sleep(600)

checkpoint.write_tensors = write_slowly
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_sigkill_while_a_checkpoint_is_written_leaves_the_earlier_one_whole(
    mer, command, straight, same_files, tmp_path
):
    out = tmp_path / "run"
    arguments = command(mer, out, 5)
    process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments[arguments.index("train") :]])
    give_up = time.monotonic() + 60
    while not ((out / "checkpoint-00000005").exists() and list(out.glob(".checkpoint-*.tmp/weights.safetensors"))):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    assert [path.name for path in out.glob("checkpoint-*")] == ["checkpoint-00000005"]
    done = subprocess.run(command(mer, out, 1000), check=True, capture_output=True, text=True)
    assert "resuming after step 5 of 40" in done.stderr
    same_files(out, straight)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_checkpoints_are_kept_and_the_latest_is_gone_on_from(
    mer, straight, same_files, tmp_path, die_at, caplog, keep
):
    out = tmp_path / "run"
    die_at(29, *mer, out, 4, keep)
    assert sorted(path.name for path in out.glob("checkpoint-*")) == [
        f"checkpoint-{step:08d}" for step in (20, 24, 28)[-keep:]
    ]
    with caplog.at_level("INFO"):
        train(*mer, out, 4, keep)
    assert "resuming after step 28 of 40" in caplog.text
    same_files(out, straight)
