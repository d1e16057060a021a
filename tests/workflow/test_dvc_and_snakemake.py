"""Snakemake runs, DVC remembers: each is idle after the other, whichever revision is checked out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.project import SMALL_PARAMS, Project

pytestmark = pytest.mark.slow
STAGES = {"corpus", "tokens", "train", "evaluate"}  # and raw, which always runs


def skipped(output: str) -> set[str]:
    """The DVC stages that did not run."""
    return set(re.findall(r"Stage '(\w+)' didn't change, skipping", output))


def weights(project: Project) -> dict[str, int]:
    """Checkpoint → the time its weights were written."""
    runs = project.folder / "runs"
    return {
        path.parent.relative_to(runs).as_posix(): path.stat().st_mtime_ns for path in runs.rglob("model.safetensors")
    }


def test_dvc_repro_does_the_whole_job_and_snakemake_then_has_nothing_to_do(project: Project) -> None:
    results = json.loads((project.folder / "results" / "eval_all.json").read_text())
    assert set(results["arms"]) == {"sequential", "mer"}
    assert project.would_run() == {}
    assert skipped(project.run("dvc", "repro")) == STAGES


def test_dvc_shows_the_metrics_and_draws_the_plots(project: Project) -> None:
    shown = project.run("dvc", "metrics", "show", "--json")
    assert "retained_loss" in shown
    project.run("dvc", "plots", "show", "--out", "plots_html")
    assert (project.folder / "plots_html" / "index.html").is_file()


def test_after_a_plain_snakemake_dvc_commit_leaves_dvc_nothing_to_do(edited_copy: Project) -> None:
    assert skipped(edited_copy.run("dvc", "repro")) == STAGES
    assert edited_copy.would_run() == {}


def test_taking_an_edit_back_trains_nothing(edited_copy: Project) -> None:
    edited_copy.write_params()
    assert edited_copy.would_run() == {"gather": 1, "report": 1}
    before = weights(edited_copy)
    edited_copy.run("dvc", "repro")
    assert weights(edited_copy) == before
    assert edited_copy.would_run() == {}
    edited_copy.run("git", "checkout", "-q", "--", ".")
    edited_copy.run("dvc", "checkout")
    assert edited_copy.would_run() == {}


def test_an_older_revision_checked_out_is_idle(edited_copy: Project) -> None:
    for revision in ("first", "-"):
        edited_copy.run("git", "checkout", "-q", revision)
        edited_copy.run("dvc", "checkout")
        assert edited_copy.would_run() == {}


def test_a_fresh_clone_after_a_pull_is_idle(project: Project, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    project.run("dvc", "remote", "add", "-d", "--local", "store", str(remote))
    project.run("dvc", "push")
    clone = Project(tmp_path / "clone")
    project.run("git", "clone", "-q", str(project.folder), str(clone.folder))
    clone.run("dvc", "remote", "add", "-d", "--local", "store", str(remote))
    clone.run("dvc", "pull")
    assert clone.would_run() == {}
    assert skipped(clone.run("dvc", "repro")) == STAGES


def test_each_dvc_stage_lists_every_param_that_its_jobs_use(project: Project) -> None:
    """dvc.yaml against the rules: an edit that changes what a Snakemake target would run must be one that DVC sees."""
    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]
    edits: dict[str, dict[str, Any]] = {
        "corpus.min_language_score": {"corpus": SMALL_PARAMS["corpus"] | {"min_language_score": 0.1}},
        "tokenizer.vocab_size": {"tokenizer": {"vocab_size": 300}},
        "train.steps": {"train": SMALL_PARAMS["train"] | {"steps": 10}},
        "model.layers": {"model": SMALL_PARAMS["model"] | {"layers": 2}},
        "seeds": {"seeds": [1]},
        "arms": {"arms": ["sequential"]},
        "languages": {"languages": ["fr", "en"]},
        "replay.rate": {"replay": {"rate": 0.1}},
        "evaluate.max_tokens": {"evaluate": {"max_tokens": 500}},
    }
    targets = {"corpus": "corpus_all", "tokens": "tokens_all", "train": "train_all", "evaluate": "all"}
    for key, edit in edits.items():
        project.write_params(**edit)
        sees = {
            stage: any(key == name or key.startswith(f"{name}.") for name in stages[stage]["params"])
            for stage in targets
        }
        blind = [targets[stage] for stage in targets if not sees[stage]]
        idle = not blind or "Nothing to be done" in project.run("snakemake", "-n", *blind)
        assert idle, f"an edit of {key} runs jobs for {blind} that DVC would not start"
