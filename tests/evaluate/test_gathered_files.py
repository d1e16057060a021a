"""The files beside results/eval_all.json: metrics.json, tables and curves; gathering twice gives the same bytes."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.evaluated_project import ARMS, LANGUAGES, PARAMS, plot_rows

from palimpsest.errors import ArtifactError
from palimpsest.evaluate.gather_results import gather_results
from palimpsest.specs.evaluation import GatherSpec


def test_loss_matrix_and_forgetting_csv(gathered_project: Path) -> None:
    matrix = plot_rows(gathered_project, "loss_matrix")
    assert list(matrix[0]) == ["arm", "stage", "language", "loss", "bits_per_byte"]
    stages = {arm: ["init", "joint"] if arm == "joint" else ["init", *LANGUAGES] for arm in ARMS}
    assert [(r["arm"], r["stage"]) for r in matrix[::3]] == [(arm, stage) for arm in ARMS for stage in stages[arm]]
    last = {r["language"]: r for r in matrix if (r["arm"], r["stage"]) == ("sequential", "ar")}
    assert len(matrix) == 30 and last.keys() == set(LANGUAGES)
    for language, mean in {"fr": 4.55, "en": 4.3, "ar": 3.5}.items():
        found = [float(last[language][unit]) for unit in ("loss", "bits_per_byte")]
        assert found == pytest.approx([mean, mean / 4 / math.log(2)])
    forgotten = [
        (r["arm"], r["language"], round(float(r["forgetting"]), 9)) for r in plot_rows(gathered_project, "forgetting")
    ]
    assert forgotten == [("sequential", "fr", 1.6), ("sequential", "en", 1.2), ("mer", "fr", 0.35), ("mer", "en", 0.0)]


def test_ledger_csv(gathered_project: Path) -> None:
    rows = plot_rows(gathered_project, "ledger")
    found = [tuple(row.values()) for row in rows]
    plain, replayed = ("1000", "0", "1000", "6000"), ("1000", "300", "1300", "7800")
    assert ",".join(rows[0]) == "arm,stage,new_tokens,replayed_tokens,total_tokens,flops"
    assert found[:3] == [("sequential", language, *plain) for language in LANGUAGES]
    assert found[3:6] == [("mer", "fr", *plain), ("mer", "en", *replayed), ("mer", "ar", *replayed)]
    assert found[6:] == [("joint", "joint", "3000", "0", "3000", "18000")]


def test_loss_curves_count_steps_from_the_start_of_the_lineage(gathered_project: Path) -> None:
    curves = plot_rows(gathered_project, "loss_curves")
    assert list(curves[0]) == ["arm", "seed", "stage", "language", "step", "tokens", "loss"]
    doubled = ["fr", "fr", "en", "en", "ar", "ar"]
    stage_ends = {
        "sequential": [(language, 500 * n // 100, 500 * n) for n, language in zip(range(1, 7), doubled, strict=True)],
        "mer": list(zip(doubled, [5, 10, 15, 23, 28, 36], [500, 1000, 1500, 2300, 2800, 3600], strict=True)),
        "joint": [("joint", 5, 500), ("joint", 30, 3000)],
    }
    for seed, arm in itertools.product(("0", "1"), ARMS):
        chosen = [row for row in curves if (row["seed"], row["arm"], row["language"]) == (seed, arm, "en")]
        assert [(row["stage"], int(row["step"]), int(row["tokens"])) for row in chosen] == stage_ends[arm]
    first = [row["loss"] for row in curves if (row["seed"], row["arm"], row["language"]) == ("0", "mer", "en")]
    assert [float(loss) for loss in first] == [1.625, 2.25, 1.625, 2.625, 1.625, 2.625]
    assert len(curves) == 2 * 3 * 14


def test_metrics_json(gathered_project: Path) -> None:
    short = json.loads((gathered_project / "results" / "metrics.json").read_text())
    assert short == {
        "sequential": {
            "loss": {"fr": 4.55, "en": 4.3, "ar": 3.5}, "forgetting": {"fr": 1.6, "en": 1.2},
            "retained_loss": 4.1167, "learned_loss": 3.2667, "tokens": 3000, "flops": 18000,
        },
        "mer": {
            "loss": {"fr": 3.5, "en": 3.4, "ar": 3.8}, "forgetting": {"fr": 0.35, "en": 0.0},
            "retained_loss": 3.5667, "learned_loss": 3.4667, "tokens": 3600, "flops": 21600,
        },
        "joint": {
            "loss": {"fr": 3.2, "en": 3.2, "ar": 3.5}, "forgetting": {},
            "retained_loss": 3.3, "tokens": 3000, "flops": 18000,
        },
    }  # fmt: skip


def test_alignment_counts_steps_from_the_start_of_the_lineage(gathered_project: Path) -> None:
    """13 steps of 100 tokens in each stage that replays, after the 10 of the first."""
    alignment = plot_rows(gathered_project, "alignment")
    assert list(alignment[0]) == ["arm", "seed", "stage", "step", "tokens", "at", "group", "cosine"]
    whole = [tuple(row.values())[2:] for row in alignment if (row["seed"], row["group"]) == ("1", "all")]
    places = [(4, "step"), (8, "step"), (10, "window"), (10, "interpolated"), (13, "step")]
    assert whole == [
        (stage, str(before + step), str(100 * (before + step)), at, "all", str(step / 16))
        for stage, before in (("en", 10), ("ar", 23))
        for step, at in places
    ]
    assert {row["arm"] for row in alignment} == {"mer"} and len(alignment) == 2 * 2 * 5 * 2


def test_gathering_is_reproducible(gathered_project: Path) -> None:
    results = [path for path in (gathered_project / "results").glob("**/*.*") if "evaluation" not in path.parts]
    before = {path: path.read_bytes() for path in results}
    gather_results(GatherSpec(params=PARAMS, arms=ARMS), gathered_project)
    assert {path: path.read_bytes() for path in results} == before and len(before) == 13
    assert not any(str(gathered_project).encode() in data for data in before.values())


def test_a_missing_evaluation_is_named(gathered_project: Path) -> None:
    spec = GatherSpec(params=replace(PARAMS, arms=("mer",)), arms={"mer": {"0": "nano-s0.00/fr.99"}})
    with pytest.raises(ArtifactError, match=r"nano-s0\.00/fr\.99/manifest\.json: no such file"):
        gather_results(spec, gathered_project)
