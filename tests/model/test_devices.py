"""Claims on GPUs, by processes that live and die."""

import subprocess
import sys

import pytest

CODE = """
import sys
from palimpsest.model.devices import claim_gpu
print(claim_gpu(2), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claimant(tmp_path, monkeypatch):
    """Starts a process that claims one of two GPUs, and says which it got."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    started = []

    def start(**more):
        with monkeypatch.context() as patch:
            for name, value in more.items():
                patch.setenv(name, value)
            process = subprocess.Popen(
                [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        started.append(process)
        assert process.stdout
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_process_gets_its_own_gpu_and_a_dead_process_frees_it(claimant):
    first, gpu = claimant()
    assert gpu == "0"
    assert claimant()[1] == "1"
    assert claimant()[1] == "None"
    first.kill()
    first.wait()
    assert claimant()[1] == "0"


def test_gpus_are_identified_by_their_names_on_the_machine(claimant):
    """As a cluster's scheduler hands them out: each job sees its own as number 0."""
    assert claimant(CUDA_VISIBLE_DEVICES="2,3")[1] == "0"
    assert claimant(CUDA_VISIBLE_DEVICES="3,2")[1] == "0"
    assert claimant(CUDA_VISIBLE_DEVICES="2,3")[1] == "None"
