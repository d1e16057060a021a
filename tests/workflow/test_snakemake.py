"""Which jobs an edit of params.yaml reruns, what they ask the machine for, and how they fail."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from support.project import SMALL_PARAMS, Project

pytestmark = pytest.mark.slow
LONGEST_ARGUMENT = 128 * 1024  # bytes that Linux takes


def manifests(folder: Path) -> dict[str, bytes]:
    """Every manifest's contents by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("data", "runs", "results")
        for path in (folder / part).rglob("manifest.json")
    }


def trained(project: Project) -> set[str]:
    """The manifests of the trained checkpoints, which the initial model is not."""
    return {path for path in manifests(project.folder) if path.startswith("runs/") and path.count("/") > 2}


def test_one_core_and_all_of_them_give_equal_bytes(finished_project: Project, tmp_path: Path) -> None:
    """All manifests hold hashes of all files, so that equal manifests are equal data, weights and losses."""
    one, all_of_them = tmp_path, finished_project.folder
    (one / "given.yaml").write_text(yaml.safe_dump(SMALL_PARAMS))
    given = ("--directory", str(one), "--configfile", str(one / "given.yaml"))
    finished_project.run("snakemake", "--cores", "1", *given)
    assert len(manifests(one)) == 16
    assert manifests(one) == manifests(all_of_them)
    for name in ("eval_all.json", "metrics.json", "report.html", "plots/loss_curves.csv"):
        assert (one / "results" / name).read_bytes() == (all_of_them / "results" / name).read_bytes(), name
    assert (one / "data" / "raw" / "outside.json").is_file()  # which DVC's later stages depend on
    for content in manifests(one).values():
        assert str(one).encode() not in content


def test_the_plan_is_what_was_done(finished_project: Project) -> None:
    plan = json.loads(finished_project.run("palimpsest", "plan", "--json"))
    runs = json.loads((finished_project.folder / "results" / "eval_all.json").read_text())["runs"]
    ledgers = {path: run["ledger"] for path, run in runs.items() if run["parent"]}
    assert {stage["lineage"] for stage in plan["stages"]} == ledgers.keys()
    for stage in plan["stages"]:
        for name in ("steps", "new_tokens", "replayed_tokens", "total_tokens", "flops"):
            assert stage[name] == ledgers[stage["lineage"]][name]


def test_an_edit_of_the_rate_reruns_pools_later_stages_evaluation_and_report_alone(
    project: Project, edited_project: Project
) -> None:
    project.write_params(replay={"rate": 0.5})
    assert project.would_run() == {"replay": 1, "train": 1, "evaluate": 1, "gather": 1, "report": 1}
    assert trained(project) < trained(edited_project)
    assert len(trained(edited_project)) == len(trained(project)) + 1
    for path in trained(project):
        for name in ("manifest.json", "model.safetensors"):
            before, after = ((one.folder / path).with_name(name) for one in (project, edited_project))
            assert before.stat().st_mtime_ns == after.stat().st_mtime_ns


def test_bad_steps_are_skipped_on_request_without_training_again(project: Project) -> None:
    project.write_params(train=SMALL_PARAMS["train"] | {"on_bad_step": "skip"})
    assert project.would_run() == {}
    output = project.run("snakemake", "-n", "-p", "--forcerun", "train")
    specs = re.findall(r"train --spec (\S+)", output)
    assert len(specs) == output.count("rule train:") > 0
    assert all(json.loads((project.folder / spec).read_text())["train"]["on_bad_step"] == "skip" for spec in specs)


def test_jobs_request_the_memory_of_their_model(project: Project) -> None:
    output = project.run("snakemake", "-n", "-p", "--forcerun", "train")
    requested = re.findall(r"^rule (\w+):.*?mem_mb=(\d+)", output, re.DOTALL | re.MULTILINE)
    # A process each, a small model, its activations or logits.
    assert {rule for rule, _ in requested} == {"train", "evaluate"}
    assert all(2000 < int(number) < 2100 for _, number in requested), requested


def test_another_params_file_is_used_alone(project: Project, tmp_path: Path) -> None:
    """Where the other file does not set a key, the value in params.yaml does not apply."""
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(SMALL_PARAMS))
    assert project.would_run() == {}
    project.write_params(train=SMALL_PARAMS["train"] | {"weight_decay": 0.3}, sweep={"replay.rate": [0, 0.1]})
    assert project.would_run()["train"] > 1
    assert project.would_run("--configfile", str(tmp_path / "given.yaml")) == {}


def test_wrong_params_are_refused_before_anything_runs(project: Project) -> None:
    project.write_params(replay={"rate": 1.5})
    output = project.run("snakemake", "-n", check=False)
    assert "params.yaml: replay.rate: found 1.5: must be in [0, 1)" in output
    assert "Traceback" not in output


def test_a_stage_that_fails_stops_the_job_with_one_message_and_a_non_zero_exit(project: Project) -> None:
    project.write_params(corpus=SMALL_PARAMS["corpus"] | {"validation_fraction": 1e-9})
    output = project.run("sh", "-c", "snakemake data/corpus/en/manifest.json; echo exit $?")
    assert "[corpus/en] error: " in output and "corpus.validation_fraction" in output
    assert output.rstrip().endswith("exit 1")
    assert "latency-wait" not in output and "Traceback" not in output
    assert not (project.folder / "data" / "corpus" / "en" / "manifest.json").exists()


def test_a_sweep_of_100_points_and_5_seeds_has_its_jobs_listed(project: Project) -> None:
    """Its spec is longer than an argument can be."""
    twentieths = [n / 20 for n in range(1, 11)]
    project.write_params(
        arms=["sequential", "replay", "reptile", "mer"],
        seeds=[0, 1, 2, 3, 4],
        sweep={"replay.rate": twentieths, "mer.step_size": twentieths},
    )
    jobs = project.would_run("results/sweep.json")
    # Of seed 0, both stages of the sequential arm exist, and the mer arm of one point.
    assert jobs["train"] == 5 * (1 + 1 + 10 + 10 + 100) - 3
    assert jobs["evaluate"] == 5 * (1 + 1 + 1 + 10 + 10 + 100) - 4
    assert jobs["sweep"] == 1
    assert longest_spec(project, "sweep") > LONGEST_ARGUMENT


def test_a_stage_reads_a_spec_that_is_longer_than_an_argument_can_be(project: Project) -> None:
    """A sweep over the rate of an arm without replay: its 900 points share one lineage, which was evaluated before."""
    project.write_params(arms=["sequential"], sweep={"replay.rate": [n / 1000 for n in range(900)]})
    assert project.would_run("results/sweep.json") == {"sweep": 1}
    project.run("snakemake", "results/sweep.json")
    assert longest_spec(project, "sweep") > LONGEST_ARGUMENT
    points = json.loads((project.folder / "results" / "sweep.json").read_text())["points"]
    assert len(points) == 900
    assert len({point["runs"]["sequential"]["0"]["lineage"] for point in points}) == 1


def longest_spec(project: Project, stage: str) -> int:
    return max(path.stat().st_size for path in (project.folder / ".snakemake" / "specs").glob(f"{stage}-*.json"))
