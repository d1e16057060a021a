"""The typed results: files are read and written back byte for byte, and errors in a file name the key."""

import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import ArtifactError
from palimpsest.evaluate.results.arm_metrics import arm_metrics, read_arm_metrics
from palimpsest.evaluate.results.eval_all import read_eval_all, write_eval_all
from palimpsest.evaluate.results.scaling_results import read_scaling_results, write_scaling_results
from palimpsest.evaluate.results.seed_mean import SeedMean

STUDY = Path(__file__).parents[2] / "docs" / "study"


@pytest.mark.parametrize("name", ["main", "grid"])
def test_scaling_of_the_study_is_read_and_written_back_byte_for_byte(tmp_path: Path, name: str) -> None:
    file = STUDY / name / "scaling.json"
    write_scaling_results(tmp_path / "scaling.json", read_scaling_results(file))
    assert (tmp_path / "scaling.json").read_bytes() == file.read_bytes()


def test_eval_all_is_read_in_the_order_of_training_and_written_back_byte_for_byte(
    gathered_project: Path, tmp_path: Path
) -> None:
    file = gathered_project / "results" / "eval_all.json"
    results = read_eval_all(file)
    write_eval_all(tmp_path / "eval_all.json", results)
    assert (tmp_path / "eval_all.json").read_bytes() == file.read_bytes()
    assert list(results.arms) == ["sequential", "mer", "joint"] and list(results.data) == ["fr", "en", "ar"]
    mer = results.arms["mer"]
    assert list(mer.loss) == ["init", "fr", "en", "ar"] and list(mer.loss["ar"]) == ["fr", "en", "ar"]
    assert list(mer.forgetting) == results.forgettable == ["fr", "en"]
    metrics = read_arm_metrics(gathered_project / "results" / "metrics.json")
    assert metrics == {name: arm_metrics(arm) for name, arm in results.arms.items()}


def test_stages_of_an_arm_are_those_of_its_first_seed(gathered_project: Path) -> None:
    """10 steps in the first stage, 13 in those that replay; two seeds have a spread in place of an interval."""
    results = read_eval_all(gathered_project / "results" / "eval_all.json")
    assert [run.stage for run in results.chain("mer")] == ["init", "fr", "en", "ar"]
    assert results.step_ranges("mer") == {"fr": (0, 10), "en": (10, 23), "ar": (23, 36)}
    assert results.replay_rates("mer") == {"fr": 0, "en": Decimal("0.25"), "ar": Decimal("0.25")}
    assert results.relative_flops("mer") == 21600 / 18000 and results.seeds == 2
    assert results.document_interval("mer", "ar", "fr") is None
    assert results.arms["joint"].mean_forgetting is None
    assert results.arms["mer"].mean_forgetting == pytest.approx((0.35 + 0.0) / 2)
    alone = dataclasses.replace(
        results,
        arms={"mer": dataclasses.replace(results.arms["mer"], loss={"ar": {"fr": SeedMean(mean=3.6, sd=None, n=1)}})},
    )
    low, high = alone.document_interval("mer", "ar", "fr") or (0, 0)
    assert low < 3.6 < high


def _remove(value: Any) -> None:
    del value["points"][0]["seed"]


def _add(value: Any) -> None:
    value["fits"][1]["slope"] = 3


def _mistype(value: Any) -> None:
    value["exchange"][0]["measure"] = "validation_loss"


def _older(value: Any) -> None:
    value["format"] = "palimpsest.scaling/0"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_remove, r"points\[0\]\.seed: missing key of ScalingPoint"),
        (_add, r"fits\[1\]\.slope: unknown key"),
        (_mistype, r"exchange\[0\]\.measure: found 'validation_loss', expected 'retained_loss' or 'learned_loss'"),
        (_older, "format is 'palimpsest.scaling/0', expected 'palimpsest.scaling/1'"),
    ],
)
def test_a_wrong_file_is_named_with_its_key_and_the_remedy(tmp_path: Path, edit: Any, message: str) -> None:
    value = json.loads((STUDY / "grid" / "scaling.json").read_text())
    edit(value)
    file = tmp_path / "scaling.json"
    file.write_text(json.dumps(value))
    with pytest.raises(ArtifactError, match=rf"scaling\.json: {message}.*; run the scaling analysis again$"):
        read_scaling_results(file)
