"""The scaling analysis in words and as a chart's table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support.made_analyses import MadeAnalyses

from palimpsest.artifact import write_json
from palimpsest.evaluate.results.scaling_results import MEASURES, ScalingResults, read_scaling_results
from palimpsest.report import palette, scaling_table
from palimpsest.report.charts import scaling_laws

THIN = "\u202f"


def _read(folder: Path, value: dict[str, Any] | None = None) -> ScalingResults:
    write_json(folder / "scaling.json", value or MadeAnalyses.scaling())
    return read_scaling_results(folder / "scaling.json")


def test_runs_and_laws_are_in_the_table_where_they_are(tmp_path: Path) -> None:
    found = _read(tmp_path)
    chart = scaling_laws.draw(found, palette.styles(found.arms))
    assert chart is not None
    for measure in MEASURES:
        below = 0.3 if measure == "learned_loss" else 0.0
        rows = [row for row in chart.table if row["measure"] == measure]
        runs = [(row["x"], row["y"], row["rate"]) for row in rows if row["kind"] == "run"]
        assert runs == [(p.flops_per_token, p.loss(measure), p.rate) for p in found.points]
        for arm, rate in MadeAnalyses.laws:
            law = [row for row in rows if (row["kind"], row["arm"], row["rate"]) == ("law", arm, rate)]
            assert len(law) == 21 and all(row["tells"] == (arm != "mer") for row in law)
            expected = [MadeAnalyses.retained(arm, rate, row["x"]) - below for row in law]
            assert [row["y"] for row in law] == pytest.approx(expected)
        names = [row["label"] for row in rows if "label" in row]
        assert names == ["sequential", f"replay 5{THIN}%", f"replay 25{THIN}%", f"mer 25{THIN}%"]


def test_settings_that_the_sweep_varies_are_named_and_kept_apart(tmp_path: Path) -> None:
    value = MadeAnalyses.scaling()
    for entry in [*value["points"], *value["fits"]]:
        if entry["arm"] == "mer":
            entry["values"] = entry["values"] | {"mer.step_size": 0.5}
    extra = [dict(point, values=point["values"] | {"mer.step_size": 0.1}) for point in value["points"][-6:]]
    few = {"law": "", "curve": [], "coefficients": {}, "ci95": {}, "values": {"mer.step_size": 0.1}, "tells": False}
    value["points"] += extra
    value["fits"].append(value["fits"][-2] | few | {"why": "1 size"})
    found = _read(tmp_path, value)
    names = {scaling_table.setting_name(found, point) for point in found.points if point.arm == "mer"}
    assert names == {f"mer 25{THIN}%, ε 0.5", f"mer 25{THIN}%, ε 0.1"}
    assert scaling_table.setting_name(found, found.points[0]) == "sequential"
    groups = [group.name for group in scaling_table.seed_groups(found)]
    assert groups.count(f"mer 25{THIN}%, ε 0.1") == 3
    value["points"][-1]["accounting"] = "replace"
    both = _read(tmp_path, value)
    assert scaling_table.setting_name(both, both.points[-2]) == f"mer 25{THIN}%, add, ε 0.1"


def test_seeds_come_together(tmp_path: Path) -> None:
    first = scaling_table.seed_groups(_read(tmp_path))[0]
    loss = MadeAnalyses.retained("sequential", 0, 1.1e6)
    assert first.retained.mean == pytest.approx(loss + 0.01) and first.retained.n == 2
    assert first.learned is not None
    assert first.retained.sd == pytest.approx(0.02 / math.sqrt(2))
    assert first.learned.sd == pytest.approx(0.01 / math.sqrt(2))


def test_exchange_says_only_what_the_interval_carries(tmp_path: Path) -> None:
    value = MadeAnalyses.scaling()
    value["exchange"].append(value["exchange"][1] | {"growth": 0.9, "ci95": [0.7, 1.2], "why": ""})
    found = _read(tmp_path, value)
    styles = palette.styles(found.arms)
    rows = [[cell.text for cell in body.rows[0]] for body in scaling_table.exchange(found, styles).bodies]
    assert [row[-1] for row in rows] == [
        "Replay costs less than the larger model that retains as much.",
        "Neither is clearly cheaper: the interval contains the cost of replay. Within the sizes tried.",
        "The data do not settle it. No size without replay retains as much.",
        "A larger model retains as much at lower cost than replay.",
    ]
    assert [tuple(row[1:4]) for row in rows][:3] == [
        ("2.31×", "1.62–3.4", "1.05×"),
        ("1.41×", "1.02–2.9", "1.33×"),
        ("–", "–", "1.33×"),
    ]
    laws = scaling_table.fits(found, styles).bodies
    coefficients = laws[0].rows[0][2].text.splitlines()
    assert coefficients == ["A = 90 (45 to 180)", "E = 2.1 (1.7 to 2.4)", "b = 0.27 (0.21 to 0.33)"]
    assert laws[-1].rows[0][3].text == "B lies between 0.05 and 1.9." and laws[-1].muted


def test_a_band_that_runs_out_of_the_panel_does_not_stretch_it(tmp_path: Path) -> None:
    value = MadeAnalyses.scaling()
    for place in value["fits"][0]["curve"]:
        place["high"], place["low"] = 1e300, 0.0
    found = _read(tmp_path, value)
    chart = scaling_laws.draw(found, palette.styles(found.arms))
    assert chart is not None and "1e+300" not in json.dumps(chart.spec)
    area = chart.spec["concat"][0]["layer"][0]
    assert area["mark"]["clip"] is True
