"""Snakemake runs, DVC remembers: each is idle after the other, and an edit of the replay rate reruns little.

These tests go on from each other's state, as a user's days do.
"""

import json
import re

import pytest
import yaml

pytestmark = pytest.mark.slow
AFTER_AN_EDIT_OF_THE_RATE = {"replay": 1, "train": 1, "evaluate": 1, "gather": 1, "report": 1}


def skipped(said):
    """The DVC stages that did not run."""
    return set(re.findall(r"Stage '(\w+)' didn't change, skipping", said))


def manifests(folder):
    """Every manifest by its path, as bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("data", "runs", "results")
        for path in (folder / part).rglob("manifest.json")
    }


def trained(project):
    return {path.parent: (path.parent / "model.safetensors").stat().st_mtime_ns for path in trained_manifests(project)}


def trained_manifests(project):
    return [path for path in (project.folder / "runs").rglob("manifest.json") if path.parent.parent.name != "runs"]


def test_dvc_repro_does_the_whole_job_and_snakemake_then_has_nothing_to_do(project):
    project.run("dvc", "repro")
    results = json.loads((project.folder / "results" / "eval_all.json").read_text())
    assert set(results["arms"]) == {"sequential", "mer"}
    assert project.would_run() == {}
    assert skipped(project.run("dvc", "repro")) == {"corpus", "tokens", "train", "evaluate"}
    shown = project.run("dvc", "metrics", "show", "--json")
    assert "retained_loss" in shown
    project.run("dvc", "plots", "show", "--out", "plots_html")
    assert (project.folder / "plots_html" / "index.html").is_file()
    project.run("rm", "-r", "plots_html")
    project.commit("first")
    project.run("git", "tag", "first")


def test_one_core_and_all_of_them_give_equal_bytes(project, elsewhere):
    """All manifests hold hashes of all files, so that equal manifests are equal data, weights and losses."""
    one, all_of_them = elsewhere("1", project.small), project.folder
    assert len(manifests(one)) == 16
    assert manifests(one) == manifests(all_of_them)
    for name in ("eval_all.json", "metrics.json", "report.html", "plots/loss_curves.csv"):
        assert (one / "results" / name).read_bytes() == (all_of_them / "results" / name).read_bytes(), name
    assert (one / "data" / "raw" / "outside.json").is_file()  # which DVC's later stages depend on
    for content in manifests(one).values():
        assert str(one).encode() not in content


def test_the_plan_is_what_was_done(project):
    made = json.loads(project.run("palimpsest", "plan", "--json"))
    runs = json.loads((project.folder / "results" / "eval_all.json").read_text())["runs"]
    trained = {path: run["ledger"] for path, run in runs.items() if run["parent"]}
    assert {stage["lineage"] for stage in made["stages"]} == trained.keys()
    for stage in made["stages"]:
        for name in ("steps", "new_tokens", "replayed_tokens", "total_tokens", "flops"):
            assert stage[name] == trained[stage["lineage"]][name]


def test_an_edit_of_the_rate_reruns_pools_later_stages_evaluation_and_report_alone(project):
    project.params(replay={"rate": 0.5})
    assert project.would_run() == AFTER_AN_EDIT_OF_THE_RATE
    before = trained(project)
    project.run("snakemake", "--cores", "2", "results/eval_all.json", "results/report.html")
    assert len(trained(project)) == len(before) + 1
    assert before.items() <= trained(project).items()
    assert project.would_run() == {}


def test_bad_steps_are_skipped_on_request_without_training_anew_and_jobs_ask_for_the_memory_of_their_model(project):
    project.params(replay={"rate": 0.5}, train=project.small["train"] | {"on_bad_step": "skip"})
    assert project.would_run() == {}
    said = project.run("snakemake", "-n", "-p", "--forcerun", "train")
    specs = re.findall(r"train --spec (\S+)", said)
    assert len(specs) == said.count("rule train:") > 0
    assert all(json.loads((project.folder / spec).read_text())["train"]["on_bad_step"] == "skip" for spec in specs)
    asked = re.findall(r"^rule (\w+):.*?mem_mb=(\d+)", said, re.DOTALL | re.MULTILINE)
    # A process each, a small model, its activations or logits.
    assert {rule for rule, _ in asked} == {"train", "evaluate"}
    assert all(2000 < int(number) < 2100 for _, number in asked), asked
    project.params(replay={"rate": 0.5})


def test_after_a_plain_snakemake_dvc_commit_leaves_dvc_nothing_to_do(project):
    project.run("dvc", "commit", "-f")
    assert skipped(project.run("dvc", "repro")) == {"corpus", "tokens", "train", "evaluate"}
    assert project.would_run() == {}
    project.commit("second")


def test_taking_the_edit_back_trains_nothing(project):
    project.params()
    assert project.would_run() == {"gather": 1, "report": 1}
    before = trained(project)
    project.run("dvc", "repro")
    assert trained(project) == before
    assert project.would_run() == {}
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout")
    assert project.would_run() == {}


def test_an_older_revision_checked_out_is_idle(project):
    project.run("git", "checkout", "-q", "first")
    project.run("dvc", "checkout")
    assert project.would_run() == {}
    project.run("git", "checkout", "-q", "-")
    project.run("dvc", "checkout")
    assert project.would_run() == {}


def test_a_fresh_clone_after_a_pull_is_idle(project, tmp_path):
    remote = tmp_path / "remote"
    project.run("dvc", "remote", "add", "-d", "--local", "store", str(remote))
    project.run("dvc", "push")
    clone = type(project)(tmp_path / "clone")
    project.run("git", "clone", "-q", str(project.folder), str(clone.folder))
    clone.run("dvc", "remote", "add", "-d", "--local", "store", str(remote))
    clone.run("dvc", "pull")
    assert clone.would_run() == {}
    assert skipped(clone.run("dvc", "repro")) == {"corpus", "tokens", "train", "evaluate"}


def test_another_params_file_stands_for_itself(project, tmp_path):
    """What params.yaml says does not show through where the other file says nothing."""
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(project.small))
    project.params()
    expected = project.would_run()
    assert "train" not in expected
    project.params(train=project.small["train"] | {"weight_decay": 0.3}, sweep={"replay.rate": [0, 0.1]})
    assert project.would_run()["train"] > 1
    assert project.would_run("--configfile", str(tmp_path / "given.yaml")) == expected
    project.params()


def test_wrong_params_are_refused_before_anything_runs(project):
    project.params(replay={"rate": 1.5})
    said = project.run("snakemake", "-n", check=False)
    assert "params.yaml: replay.rate: found 1.5: must be in [0, 1)" in said
    assert "Traceback" not in said
    project.params()


def test_a_stage_that_fails_stops_the_job_with_one_message_and_a_non_zero_exit(project):
    project.params(corpus=project.small["corpus"] | {"validation_fraction": 1e-9})
    said = project.run("sh", "-c", "snakemake data/corpus/en/manifest.json; echo exit $?")
    assert "[corpus/en] error: " in said and "corpus.validation_fraction" in said
    assert said.rstrip().endswith("exit 1")
    assert "latency-wait" not in said and "Traceback" not in said
    assert not (project.folder / "data" / "corpus" / "en" / "manifest.json").exists()
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout", "--force")


def test_each_dvc_stage_lists_every_param_that_its_jobs_use(project):
    """dvc.yaml against the rules: an edit that changes what a Snakemake target would run must be one that DVC sees."""
    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]
    edits = {
        "corpus.min_language_score": {"corpus": project.small["corpus"] | {"min_language_score": 0.1}},
        "tokenizer.vocab_size": {"tokenizer": {"vocab_size": 300}},
        "train.steps": {"train": project.small["train"] | {"steps": 10}},
        "model.layers": {"model": project.small["model"] | {"layers": 2}},
        "seeds": {"seeds": [1]},
        "arms": {"arms": ["sequential"]},
        "languages": {"languages": ["fr", "en"]},
        "replay.rate": {"replay": {"rate": 0.1}},
        "evaluate.max_tokens": {"evaluate": {"max_tokens": 500}},
    }
    targets = {"corpus": "corpus_all", "tokens": "tokens_all", "train": "train_all", "evaluate": "all"}
    for key, edit in edits.items():
        project.params(**edit)
        sees = {
            stage: any(key == name or key.startswith(f"{name}.") for name in stages[stage]["params"])
            for stage in targets
        }
        blind = [targets[stage] for stage in targets if not sees[stage]]
        idle = not blind or "Nothing to be done" in project.run("snakemake", "-n", *blind)
        assert idle, f"an edit of {key} runs jobs for {blind} that DVC would not start"
    project.params()
