"""results/eval_all.json from made-up checkpoints, against numbers worked out by hand."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.evaluated_project import (
    ARMS,
    LANGUAGES,
    LEDGERS,
    LOSSES,
    MER,
    PARAMS,
    REPLAY,
    SEQUENCES,
    mean_of_two,
    write_stage,
)

from palimpsest.codec import fingerprint_fields
from palimpsest.errors import ArtifactError
from palimpsest.evaluate.gather_results import gather_results
from palimpsest.settings.evaluation import Evaluate
from palimpsest.specs.evaluation import GatherSpec


def test_top_level_keys_and_data(eval_all: Any) -> None:
    assert eval_all.keys() == {"format", "sample", "params", "languages", "tasks", "arms", "runs", "data"}
    assert (eval_all["format"], eval_all["sample"]) == ("palimpsest.eval_all/1", True)
    assert (eval_all["params"], eval_all["languages"]) == (fingerprint_fields(PARAMS), LANGUAGES)
    split = {"documents": 11, "bytes": 100}
    half = {"documents_in": 15, "documents": 11, "tokens": 12, "share": 0.5}
    assert eval_all["data"]["en"] == {
        "sources": {
            "web": {"kind": "local", "licence": "of web", **half}, "wiki": {"kind": "hf", "licence": "of wiki", **half},
        },
        "masked": {"email": 1}, "bad_files": [], "documents_in": 30, "dropped": {"language": 7},
        "train": split | {"tokens": 25}, "validation": split | {"tokens": 5},
        "tokens_per_byte": 0.375, "tokens_per_word": 1.5,
    }  # fmt: skip


def test_the_loss_matrix_over_seeds(eval_all: Any) -> None:
    sequential = eval_all["arms"]["sequential"]
    assert sequential["stages"] == ["init", "fr", "en", "ar"]
    assert eval_all["arms"]["joint"]["stages"] == ["init", "joint"]
    for arm, seeds in ARMS.items():
        summary = eval_all["arms"][arm]
        assert summary["loss"].keys() == summary["bits_per_byte"].keys() == set(summary["stages"])
        for depth, stage in enumerate(summary["stages"]):
            paths = ["/".join(last.split("/")[: depth + 1]) for last in seeds.values()]
            for place, language in enumerate(LANGUAGES):
                one, other = (LOSSES[path][place] for path in paths)
                assert summary["loss"][stage][language] == mean_of_two(one, other)
                bits = summary["bits_per_byte"][stage][language]
                assert bits == mean_of_two(one / 4 / math.log(2), other / 4 / math.log(2))


def test_forgetting_and_transfer(eval_all: Any) -> None:
    """fr after ar: 5.0 from its best of 3.0, and 4.1 from its best of 2.9, which the stage en reached in seed 1."""
    sequential, mer = eval_all["arms"]["sequential"], eval_all["arms"]["mer"]
    assert sequential["forgetting"] == {"fr": mean_of_two(2.0, 1.2), "en": mean_of_two(1.0, 1.4)}
    assert sequential["backward_transfer"] == {"fr": mean_of_two(2.0, 0.7), "en": mean_of_two(1.0, 1.4)}
    assert sequential["forward_transfer"] == {"en": mean_of_two(1.2, 0.8), "ar": mean_of_two(1.3, 1.1)}
    assert mer["forgetting"] == {"fr": mean_of_two(0.6, 0.1), "en": mean_of_two(0.2, -0.2)}
    assert mer["forward_transfer"] == {"en": mean_of_two(1.2, 0.8), "ar": mean_of_two(1.2, 1.2)}


def test_retained_and_learned_loss_and_joint_without_forgetting(eval_all: Any) -> None:
    sequential, mer = eval_all["arms"]["sequential"], eval_all["arms"]["mer"]
    assert sequential["retained_loss"] == mean_of_two(12.6 / 3, 12.1 / 3)
    assert sequential["learned_loss"] == mean_of_two(9.6 / 3, 10.0 / 3)
    assert mer["retained_loss"] == mean_of_two(10.8 / 3, 10.6 / 3)
    assert mer["learned_loss"] == mean_of_two(10.0 / 3, 10.8 / 3)
    joint = eval_all["arms"]["joint"]
    assert joint["forgetting"] == joint["backward_transfer"] == joint["forward_transfer"] == {}
    assert joint["learned_loss"] is None and joint["retained_loss"] == mean_of_two(3.2, 3.4)


def test_tokens_and_flops_are_summed_over_the_stages(eval_all: Any) -> None:
    sums = {arm: (*summary["tokens"].items(), summary["flops"]) for arm, summary in eval_all["arms"].items()}
    plain = (("new", 3000), ("replayed", 0), ("total", 3000), 18000)
    replayed = (("new", 3000), ("replayed", 600), ("total", 3600), 21600)
    assert sums == {"sequential": plain, "mer": replayed, "joint": plain}


def test_lineages_begin_with_the_initial_model(eval_all: Any) -> None:
    for arm, depth in (("sequential", 4), ("mer", 4), ("joint", 2)):
        for seed, last in ARMS[arm].items():
            lineage = eval_all["arms"][arm]["lineages"][seed]
            assert (lineage[0], lineage[-1]) == (f"nano-s{seed}.{seed}0", last)
            assert len(lineage) == depth and lineage == sorted(lineage, key=len)
            assert set(lineage) <= LOSSES.keys()


def test_checkpoints(eval_all: Any) -> None:
    runs = eval_all["runs"]
    assert runs.keys() == LOSSES.keys()
    first = {key: value for key, value in runs["nano-s1.10"].items() if key != "loss"}
    assert first == {
        "arms": ["sequential", "mer", "joint"], "seed": 1, "stage": "init", "parent": None, "parameters": 77,
        "replay": None, "mer": None, "ledger": None, "tasks": {}, "samples": {},
    }  # fmt: skip
    last = {key: value for key, value in runs[ARMS["mer"]["0"]].items() if key != "loss"}
    assert last == {
        "arms": ["mer"], "seed": 0, "stage": "ar", "parent": "nano-s0.00/fr.01/en+r25+mer.04", "parameters": 77,
        "replay": REPLAY, "mer": MER, "ledger": SEQUENCES | LEDGERS["replayed"],
        "tasks": {}, "samples": {},
    }  # fmt: skip
    assert runs["nano-s0.00/fr.01"]["arms"] == ["sequential", "mer"]
    assert runs["nano-s0.00/joint.06"]["stage"] == "joint"


def test_losses_of_a_checkpoint_and_their_intervals(eval_all: Any) -> None:
    """A document lies 0.5 off, by chance: with 40 of them, 1.96 standard errors are 0.173."""
    for path, row in LOSSES.items():
        for mean, language in zip(row, LANGUAGES, strict=True):
            loss = dict(eval_all["runs"][path]["loss"][language])
            low, high = loss.pop("ci95")
            sizes = {"tokens": 800, "bytes": 3200, "documents": 40}
            assert loss == pytest.approx({"nats_per_token": mean, "bits_per_byte": mean / 4 / math.log(2)} | sizes)
            assert mean - 0.25 < low < mean - 0.1 and mean + 0.1 < high < mean + 0.25


def test_tasks_and_samples(gathered_project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gathered_project, tmp_path / "project")
    params = replace(PARAMS, arms=("joint",), evaluate=Evaluate(bootstrap=10, tasks=("piqa",)))
    values = {"nano-s0.00": 0.5, "nano-s0.00/joint.06": 0.75, "nano-s1.10": 0.25, "nano-s1.10/joint.16": 1.0}
    for path, value in values.items():
        piqa = {"metric": "acc", "value": value, "stderr": 0.1, "documents": 4, "chance": 0.5, "language": "en"}
        tasks = {"piqa": piqa | {"version": 1.0, "key": "k"}}
        write_stage(folder / "results" / "tasks" / path, "tasks", {"tasks.json": tasks}, {}, {})
    evaluated = folder / "results" / "evaluation" / "nano-s0.00"
    samples = {"fr": [{"prompt": "Il", "text": " y a"}]}
    losses = json.loads((evaluated / "losses.json").read_text())
    write_stage(evaluated, "evaluation", {"losses.json": losses, "samples.json": samples}, {"languages": LANGUAGES}, {})
    gather_results(GatherSpec(params=params, arms=ARMS), folder)
    found = json.loads((folder / "results" / "eval_all.json").read_text())
    assert found["tasks"] == {"piqa": {"language": "en", "metric": "acc", "chance": 0.5}}
    assert found["arms"]["joint"]["tasks"] == {
        "init": {"piqa": mean_of_two(0.5, 0.25)},
        "joint": {"piqa": mean_of_two(0.75, 1)},
    }
    first = found["runs"]["nano-s0.00"]
    assert first["tasks"] == {"piqa": {"value": 0.5, "stderr": 0.1, "documents": 4}} and first["samples"] == samples
    assert json.loads((folder / "results" / "metrics.json").read_text())["joint"]["tasks"] == {"piqa": 0.875}
    (folder / "results" / "tasks" / "nano-s1.10" / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"tasks/nano-s1\.10/manifest\.json: no such file"):
        gather_results(GatherSpec(params=params, arms=ARMS), folder)
