"""A cluster's warning, sent to every process of a job: the training keeps a checkpoint, and a retry goes on from it."""

import os
import re
import signal
import time
from pathlib import Path

import pytest


def below(pid):
    """All processes that one has started, and theirs."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for thread in threads for child in thread.read_text().split()]
    return [found for child in children for found in [child, *below(child)]]


def is_of_the_stage(pid):
    """The shell, tee and the training itself, not what Snakemake puts above them."""
    return Path(f"/proc/{pid}/comm").read_text().strip() in ("bash", "tee", "palimpsest")


@pytest.mark.slow
def test_a_signal_to_all_of_a_job_keeps_a_checkpoint_that_a_retry_goes_on_from(project, tmp_path):
    """SIGTERM to the first attempt, SIGUSR1 to the second; the third ends the stage."""
    train = project.small["train"] | {"steps": 800, "eval_interval": 800, "alignment_interval": None}
    project.params(arms=["sequential"], train=train)
    given = ("--directory", str(tmp_path), "--configfile", str(project.folder / "params.yaml"))
    project.run("snakemake", "--cores", "1", *given, "--until", "init")
    process = project.start("snakemake", "--cores", "1", *given, "--retries", "2", "train_all")
    give_up, log = time.monotonic() + 240, ""
    for attempt, number in enumerate((signal.SIGTERM, signal.SIGUSR1)):
        while not (begun := list(tmp_path.glob("runs/*/*/metrics.jsonl"))) or log.count("resuming after") < attempt:
            assert process.poll() is None and time.monotonic() < give_up
            time.sleep(0.01)
            log = "".join(path.read_text() for path in tmp_path.glob("logs/train/*/*.log"))
        job = [pid for pid in below(process.pid) if is_of_the_stage(pid)]
        assert len(job) >= 3
        for pid in job:
            os.kill(pid, number)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert len(set(re.findall(r"stopped by a signal after step (\d+)", said))) == 2
    lines = begun[0].read_text().splitlines()
    assert sum('"loss"' in line for line in lines) == 800
    log = "".join(path.read_text() for path in tmp_path.glob("logs/train/*/*.log"))
    assert "resuming after step" in log
