"""The typed results: what is written is read back byte for byte, and what is wrong in a file is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import ArtifactError
from palimpsest.evaluate.results.scaling_results import read_scaling_results, write_scaling_results

STUDY = Path(__file__).parents[2] / "docs" / "study"


@pytest.mark.parametrize("name", ["main", "grid"])
def test_scaling_of_the_study_is_read_and_written_back_byte_for_byte(tmp_path: Path, name: str) -> None:
    file = STUDY / name / "scaling.json"
    write_scaling_results(tmp_path / "scaling.json", read_scaling_results(file))
    assert (tmp_path / "scaling.json").read_bytes() == file.read_bytes()


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
