"""The sample run, pinned: its table is the README's, and its weights are the recorded ones."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from support.once import once_per_run
from support.project import Project
from support.sample_run import RECORD, kind_of_machine, run_sample, table_in_readme, weight_hashes

pytestmark = pytest.mark.slow
# Nats by which another machine's order of additions may change a loss after a few hundred steps.
TOLERANCE = 0.02


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = once_per_run(tmp_path_factory, "sample-run", lambda folder: run_sample(folder / "project"))
    return Project(folder / "project")


@pytest.fixture(scope="session")
def record() -> Any:
    return json.loads(RECORD.read_text())


def differences(record: Any) -> str:
    """In what this machine is not of the kind that the record was made on; empty if it is."""
    here = kind_of_machine()
    return ", ".join(
        f"{key}: {here[key]}, not {value}" for key, value in record["machine"].items() if here[key] != value
    )


def test_the_table_is_the_one_in_the_readme(sample_run: Project, record: Any) -> None:
    """Digit for digit on a machine of the recorded kind; elsewhere losses may differ by ``TOLERANCE``."""
    found, expected = sample_run.run("palimpsest", "table"), table_in_readme()
    if not differences(record):
        assert found == expected
    loss = r"[+−]?\d+\.\d{3}\b"
    assert re.sub(loss, "#", found).split() == re.sub(loss, "#", expected).split()
    losses, readme_losses = (
        [float(number.replace("−", "-")) for number in re.findall(loss, text)] for text in (found, expected)
    )
    assert losses == pytest.approx(readme_losses, abs=TOLERANCE)


def test_the_weights_of_every_lineage_are_the_recorded_bytes(sample_run: Project, record: Any) -> None:
    if reason := differences(record):
        pytest.skip(f"recorded on another kind of machine: {reason}")
    assert weight_hashes(sample_run) == record["weights"]


def test_training_in_french_makes_the_model_forget_english_and_replay_prevents_most_of_it(sample_run: Project) -> None:
    arms = json.loads((sample_run.folder / "results" / "eval_all.json").read_text())["arms"]
    forgetting = {arm: arms[arm]["forgetting"]["en"]["mean"] for arm in ("sequential", "replay", "mer")}
    assert forgetting["sequential"] > 1
    assert forgetting["replay"] < 0.3 * forgetting["sequential"]
    assert forgetting["mer"] < 0.3 * forgetting["sequential"]


def test_replayed_tokens_are_counted_exactly(sample_run: Project) -> None:
    arms = json.loads((sample_run.folder / "results" / "eval_all.json").read_text())["arms"]
    new = 3 * 1600 * 128  # 1,600 sequences of 128 tokens in each of three stages
    replayed = 2 * 533 * 128  # in two stages: ⌊(⌊1599/0.75⌋ + 1) · 0.25⌋ sequences
    assert arms["sequential"]["tokens"] == {"new": new, "replayed": 0, "total": new}
    assert arms["replay"]["tokens"] == {"new": new, "replayed": replayed, "total": new + replayed}
    assert arms["mer"]["tokens"] == arms["replay"]["tokens"]
    assert arms["joint"]["tokens"] == arms["sequential"]["tokens"]
