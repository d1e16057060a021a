"""The charts' tables against what they must show, and the few placements that are computed here."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st
from support.made_analyses import MadeAnalyses
from support.made_results import MadeResults

from palimpsest.evaluate.results.scaling_results import read_scaling_results
from palimpsest.report import palette
from palimpsest.report.charts import (
    chart,
    forgetting,
    gradient_cosines,
    loss_curves,
    loss_matrix,
    stability_plasticity,
    token_ledger,
)
from palimpsest.report.charts.chart import Chart, Row
from palimpsest.report.training_curves import read_gradient_cosines, read_loss_curves


def _styles(made: MadeResults) -> dict[str, palette.Style]:
    return palette.styles(list(made.arms))


def _curves(axis: loss_curves.Axis, made: MadeResults, folder: Path) -> Chart:
    return loss_curves.draw(axis, read_loss_curves(made.write(folder)[1]), made.read(), _styles(made))


def _compiled(drawn: Chart) -> dict[str, Any]:
    """As Vega, which fails on a spec that Vega-Lite does not know."""
    payload = drawn.payload()
    rows = [dict(zip(payload["columns"], row, strict=True)) for row in payload["rows"]]
    spec = drawn.spec | {"datasets": drawn.spec.get("datasets", {}) | {"table": rows}}
    compiled: dict[str, Any] = vl_convert.vegalite_to_vega(spec | {"config": chart.CONFIG})
    return compiled


@given(st.lists(st.floats(0, 200), min_size=1, max_size=9))
def test_labels_keep_apart_in_order_and_move_only_if_they_must(places: list[float]) -> None:
    moved = chart.spaced(places, 13, 0, 200)
    order = sorted(range(len(places)), key=lambda index: places[index])
    inside = [moved[index] for index in order]
    assert all(after - before >= 13 - 1e-6 for before, after in itertools.pairwise(inside))
    assert min(moved) >= -1e-6 and max(moved) <= 200 + 1e-6
    if all(after - before >= 13 for before, after in itertools.pairwise(sorted(places))):
        assert moved == pytest.approx(places)


@pytest.mark.parametrize("log", [False, True])
def test_names_stand_level_with_their_lines_where_there_is_room(log: bool) -> None:
    rows: list[Row] = [{"y": 8.0}, {"y": 2.0}, {"y": 2.01}]
    chart.add_names(rows, ["a", "b", "c"], (1.0, 10.0), 200, log=log)
    assert rows[0]["level"] == pytest.approx(8.0) and rows[0]["label"] == "a"
    assert rows[1]["level"] < 2.0 < 2.01 < rows[2]["level"]  # 13 pixels apart, each as far from its line


def test_the_cursor_tells_of_every_line_its_nearest_point() -> None:
    """Two lines measured at different places: at each of the coarser one's places both tell."""
    coarse, fine = ([{"x": x} for x in xs] for xs in ((0.0, 2.5, 5.0, 7.5, 10.0), (0.0, 2.0, 2.9, 4.8, 7.7, 9.0, 9.9)))
    chart.add_cursor([coarse, fine], (0.0, 10.0), lambda row: f"{row['x']}")
    told = [[(row["at"], str(row["tip"])) for row in line if "at" in row] for line in (coarse, fine)]
    assert [at for at, _ in told[0]] == [at for at, _ in told[1]] == [0, 2.5, 5, 7.5, 10]
    assert [tip for _, tip in told[1]] == ["0.0", "2.9", "4.8", "7.7", "9.9"]


@pytest.mark.parametrize("axis", ["stages", "tokens"])
def test_curves_keep_values_and_put_joint_over_all_stages(axis: loss_curves.Axis, tmp_path: Path) -> None:
    made = MadeResults()
    drawn = _curves(axis, made, tmp_path)
    ends = {}
    for arm in made.arms:
        rows = [row for row in drawn.table if row.get("arm") == arm and row["language"] == "en"]
        expected = [row for row in made.rows if row["arm"] == arm and row["language"] == "en"]
        assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
        assert [row["stage"] for row in rows] == [row["stage"] for row in expected]
        ends[arm] = rows[-1]["x"]
    if axis == "stages":
        assert set(ends.values()) == {3}
    else:
        assert ends["sequential"] == ends["joint"] < ends["replay"] == 550 * 2048
    _compiled(drawn)


def test_stages_that_replay_are_hatched_and_their_names_stand_at_their_begin(tmp_path: Path) -> None:
    made = MadeResults()
    stages = [
        row for row in _curves("stages", made, tmp_path).table if "begin" in row and row["panel"] == "French (fr)"
    ]
    assert [(row["begin"], row["start"], row["end"], row["replays"], row["own"]) for row in stages] == [
        ("en", 0, 1, False, False), ("fr", 1, 2, True, True), ("de", 2, 3, True, False),
    ]  # fmt: skip
    tokens = [
        row for row in _curves("tokens", made, tmp_path).table if "begin" in row and row["panel"] == "French (fr)"
    ]
    batch = 2048
    assert [(row["start"] / batch, row["end"] / batch, row["replays"]) for row in tokens] == [
        (0, 150, False), (150, 300, False), (150, 350, True), (300, 450, False), (350, 550, True),
    ]  # fmt: skip
    assert [row["alone"] for row in tokens] == [None, None, None, "sequential", None]
    without = MadeResults(arms=("sequential", "reptile"))
    assert not any(row.get("replays") for row in _curves("stages", without, tmp_path).table)


def test_forgetting_bars_are_as_long_as_their_numbers() -> None:
    made = MadeResults()
    made.value["arms"]["mer"]["forgetting"]["en"]["mean"] = -0.4
    drawn = forgetting.draw(made.read(), _styles(made))
    assert drawn is not None
    rows = {row["arm"]: row for row in drawn.table if row["language"] == "English"}
    assert {arm: row["forgetting"] for arm, row in rows.items()} == {
        arm: value["forgetting"]["en"]["mean"] for arm, value in made.value["arms"].items() if arm != "joint"
    }
    assert rows["mer"]["label"] == "−0.400" and rows["mer"]["edge"] == -0.4
    bar = drawn.spec["spec"]["layer"][0]
    assert bar["encoding"]["x"]["field"] == "forgetting" and bar["encoding"]["x"]["scale"]["domain"][0] < -0.4
    _compiled(drawn)


def test_heat_maps_mark_what_is_not_trained_yet() -> None:
    made = MadeResults()
    drawn = loss_matrix.draw(loss_matrix.NATS, made.read())

    def reached(arm: str) -> list[str]:
        return [row["reached"] for row in drawn.table if row["arm"] == arm]

    assert reached("sequential").count("later") == 3 + 2 + 1 and reached("sequential").count("now") == 3
    assert reached("joint").count("later") == 3 and reached("joint").count("now") == 3
    inks = loss_matrix.ink(loss_matrix.all_losses(made.read()))
    losses = {(row["arm"], row["stage"], row["language"]): row["loss"] for row in drawn.table}
    assert sorted(inks, key=lambda place: -inks[place]) == sorted(losses, key=lambda place: losses[place])
    assert min(inks.values()) == 0 and max(inks.values()) == 1
    assert [row["after"] for row in drawn.table if row["arm"] == "mer" and row["after"]] == [
        "untrained", "after en", "after fr", "after de",
    ]  # fmt: skip
    _compiled(drawn)


def test_ledger_segments_add_up() -> None:
    made = MadeResults()
    drawn = token_ledger.draw(made.read(), _styles(made))
    assert drawn is not None
    rows = [row for row in drawn.table if row["arm"] == "replay"]
    assert [(row["stage"], row["kind"]) for row in rows] == [
        ("en", "new"), ("fr", "new"), ("fr", "replayed"), ("de", "new"), ("de", "replayed"),
    ]  # fmt: skip
    assert [row["start"] for row in rows] == [0, *(row["end"] for row in rows[:-1])]
    assert rows[-1]["end"] == made.value["arms"]["replay"]["tokens"]["total"]
    assert rows[-1]["total"] == "1.13\u202fM · 1.22×" and not any("total" in row for row in rows[:-1])
    _compiled(drawn)


@pytest.mark.parametrize("sweep", [False, True])
def test_the_plane_has_every_arm_its_deviation_and_its_compute(sweep: bool, tmp_path: Path) -> None:
    made = MadeResults(seeds=3)
    scaling = read_scaling_results(MadeAnalyses.write_scaling(tmp_path)) if sweep else None
    results = made.read()
    drawn = stability_plasticity.draw(results, scaling, _styles(made))
    assert drawn is not None
    for arm in results.arms.values():
        rows = [row for row in drawn.table if row["retained"] == arm.retained_loss.mean]
        assert len(rows) == (arm.learned_loss is not None)
        for row in rows:
            assert arm.learned_loss is not None and arm.learned_loss.sd is not None
            assert row["learned"] == arm.learned_loss.mean and row["flops"] == arm.flops
            assert row["learned_high"] - row["learned_low"] == pytest.approx(2 * arm.learned_loss.sd)
    encoding = drawn.spec["layer"][-1]["encoding"]
    assert {channel: encoding[channel]["field"] for channel in ("x", "y", "fill", "shape", "size")} == {
        "x": "learned", "y": "retained", "fill": "arm", "shape": "arm", "size": "flops",
    }  # fmt: skip
    assert encoding["size"]["scale"]["type"] == ("log" if sweep else "linear")
    labels = [row["label"] for row in drawn.table if "label" in row]
    largest = ["sequential", "replay 5\u202f%", "replay 25\u202f%", "mer 25\u202f%"]
    assert labels == ["sequential", "replay", "mer", *(largest if sweep else [])]
    if sweep:
        (row,) = (r for r in drawn.table if r["name"] == "replay 5\u202f%" and r["parameters"] == 1_900_000)
        mean = MadeAnalyses.retained("replay", 0.05, 6.2e6)
        assert (row["retained"], row["learned"]) == pytest.approx((mean + 0.01, mean - 0.295))
    _compiled(drawn)


def test_the_diagonal_is_where_all_is_kept_and_joint_a_line() -> None:
    made = MadeResults()
    drawn = stability_plasticity.draw(made.read(), None, _styles(made))
    assert drawn is not None
    diagonal, _, joint, _ = drawn.spec["layer"][:4]
    ends = drawn.spec["datasets"][diagonal["data"]["name"]][0]
    encoding = diagonal["encoding"]
    assert encoding["x"]["field"] == encoding["y"]["field"] == "high"
    assert encoding["x2"]["field"] == encoding["y2"]["field"] == "low" and ends["low"] < ends["high"]
    (line,) = drawn.spec["datasets"][joint["data"]["name"]]
    assert line["retained"] == made.value["arms"]["joint"]["retained_loss"]["mean"]


def test_cosines_and_windows_are_in_the_table_and_a_lone_point_has_a_mark(tmp_path: Path) -> None:
    made = MadeResults()
    lines = read_gradient_cosines(MadeAnalyses.write_alignment(tmp_path))
    drawn = gradient_cosines.draw(["all"], lines, made.read(), _styles(made))
    for arm in ("replay", "mer"):
        rows = [row for row in drawn.table if row.get("arm") == arm and row["kind"] == "step"]
        expected = [MadeAnalyses.cosine(arm, 0, step, "all") for step in range(160, 551, 10)]
        assert [row["cosine"] for row in rows] == pytest.approx(expected) and not any(row["single"] for row in rows)
    windows = [row for row in drawn.table if row["kind"] == "window"]
    assert len(windows) == 20
    assert [row["after"] - row["cosine"] for row in windows] == pytest.approx([MadeAnalyses.change] * 20)
    assert [(row["x"], row["stage"]) for row in drawn.table if row["kind"] == "stage"] == [(150, "fr"), (350, "de")]
    groups = gradient_cosines.draw(["embedding", "head"], lines, made.read(), _styles(made))
    assert not any(row["kind"] == "window" for row in groups.table)
    _compiled(drawn)
    (tmp_path / "one.csv").write_text("arm,seed,stage,step,tokens,at,group,cosine\nmer,0,fr,200,1,step,all,0.2\n")
    lone = gradient_cosines.draw(["all"], read_gradient_cosines(tmp_path / "one.csv"), made.read(), _styles(made))
    assert [row["single"] for row in lone.table if row["kind"] == "step"] == [True]
