"""A cluster's warning, sent to every process of a job: training writes a checkpoint, and a retry resumes from it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import SMALL_PARAMS, Project

STEPS = 800  # more than go by until a signal is sent
LIMIT_S = 1200  # on a machine with much else to do


def text(path: Path) -> str:
    """The contents of a file, none if it does not exist (any more)."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid: int) -> Iterator[int]:
    """All processes that one has started, and theirs."""
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, text(thread).split()):
            yield child
            yield from descendants(child)


def belongs_to_the_stage(pid: int) -> bool:
    """Whether it is the shell, tee or the training itself, not what Snakemake puts above them."""
    return text(Path(f"/proc/{pid}/comm")).strip() in ("bash", "tee", "palimpsest")


@pytest.mark.slow
def test_a_signal_to_all_of_a_job_keeps_a_checkpoint_that_a_retry_resumes_from(
    project: Project, tmp_path: Path
) -> None:
    """SIGTERM to the first attempt, SIGUSR1 to the second; the third finishes the stage."""
    train = SMALL_PARAMS["train"] | {"steps": STEPS, "eval_interval": STEPS, "alignment_interval": None}
    project.write_params(arms=["sequential"], train=train)
    lineage = json.loads(project.run("palimpsest", "plan", "--json"))["stages"][0]["lineage"]
    metrics = project.folder / "runs" / lineage / "metrics.jsonl"
    log = project.folder / "logs" / "train" / f"{lineage}.log"
    deadline = time.monotonic() + LIMIT_S
    with (tmp_path / "output").open("w+") as output:
        command = ("snakemake", "--cores", "1", "--retries", "2", f"runs/{lineage}/manifest.json")
        process = project.start(*command, output=output)
        try:
            for number, resumed in ((signal.SIGTERM, False), (signal.SIGUSR1, True)):
                # Either is written once the signals are handled.
                while not (metrics.exists() and (not resumed or "resuming after" in text(log))):
                    assert process.poll() is None and time.monotonic() < deadline, text(tmp_path / "output")
                    time.sleep(0.01)
                job = [pid for pid in descendants(process.pid) if belongs_to_the_stage(pid)]
                assert len(job) >= 3
                for pid in job:
                    os.kill(pid, number)
            process.wait(LIMIT_S)
        finally:
            process.terminate()
    said = (tmp_path / "output").read_text()
    assert process.returncode == 0, said
    assert len(set(re.findall(r"stopped by a signal after step (\d+)", said))) == 2
    assert metrics.read_text().count('"loss"') == STEPS
    assert "resuming after step" in log.read_text()
