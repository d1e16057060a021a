"""The templates of ``dvc plots`` are the page's charts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.made_results import MadeResults

from palimpsest.report import palette
from palimpsest.report.charts import dvc_templates, forgetting, loss_curves, loss_matrix
from palimpsest.report.training_curves import read_loss_curves

FOLDER = Path(__file__).parents[2] / ".dvc" / "plots"


@pytest.mark.parametrize("name", ["curves", "forgetting", "matrix"])
def test_files_are_those_that_the_module_writes(name: str) -> None:
    assert sorted(dvc_templates.templates()) == sorted(path.stem for path in FOLDER.glob("*.json"))
    template = dvc_templates.templates()[name]
    remedy = "run: python -m palimpsest.report.charts.dvc_templates .dvc/plots"
    assert json.loads((FOLDER / f"{name}.json").read_text()) == template, remedy
    assert template["data"] == {"values": "<DVC_METRIC_DATA>"} and template["title"] == "<DVC_METRIC_TITLE>"


def _layer(spec: dict[str, Any], mark: str) -> dict[str, Any]:
    """The last layer with this mark: what is drawn on top."""
    layers = spec["spec"].get("layer", [spec["spec"]])
    return [layer for layer in layers if layer["mark"]["type"] == mark][-1]


@pytest.mark.parametrize(
    ("name", "mark", "channels"),
    [
        ("curves", "line", {"y": ("title", "type"), "color": ("field", "type")}),
        ("forgetting", "bar", {"x": ("field", "title", "type"), "y": ("field", "sort", "title"), "color": ("field",)}),
        ("matrix", "text", {"x": ("field", "sort", "title"), "y": ("title",), "text": ("field", "format", "type")}),
    ],
)
def test_they_share_marks_and_encodings_with_the_page(
    name: str, mark: str, channels: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    made = MadeResults()
    results, styles = made.read(), palette.styles(list(made.arms))
    drawn = {
        "curves": loss_curves.draw("stages", read_loss_curves(made.write(tmp_path)[1]), results, styles),
        "forgetting": forgetting.draw(results, styles),
        "matrix": loss_matrix.draw(loss_matrix.NATS, results),
    }[name]
    assert drawn is not None
    page, template = _layer(drawn.spec, mark), _layer(dvc_templates.templates()[name], mark)
    assert page["mark"] | template["mark"] == page["mark"]
    for channel, keys in channels.items():
        for key in keys:
            assert page["encoding"][channel].get(key) == template["encoding"][channel].get(key), (channel, key)
