"""The charts' geometry against what it must mean: scales, labels that do not touch, bars as long as their numbers."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.report import history, palette, results
from palimpsest.report.charts import curves, forgetting, heatmap, ledger
from palimpsest.report.charts.svg import Scale, element, spaced


@given(st.floats(0.01, 1e6), st.floats(1.01, 1e4), st.booleans(), st.integers(3, 7))
def test_ticks_lie_inside_and_rise(low: float, ratio: float, log: bool, count: int) -> None:
    scale = Scale(low=low, high=low * ratio, start=200, end=0, log=log)
    ticks = scale.ticks(count)
    assert ticks == sorted(set(ticks)) and 1 <= len(ticks) <= 25
    assert all(-1e-6 <= scale(tick) <= 200 + 1e-6 for tick in ticks)


def test_log_scale_gives_equal_ratios_equal_lengths() -> None:
    scale = Scale(low=1, high=16, start=0, end=100, log=True)
    assert [round(scale(value), 9) for value in (1, 2, 4, 8, 16)] == [0, 25, 50, 75, 100]


@given(st.lists(st.floats(0, 200), min_size=1, max_size=9))
def test_labels_keep_apart_in_order_and_move_only_if_they_must(places: list[float]) -> None:
    moved = spaced(places, 13, 0, 200)
    order = sorted(range(len(places)), key=lambda index: places[index])
    inside = [moved[index] for index in order]
    assert all(after - before >= 13 - 1e-6 for before, after in itertools.pairwise(inside))
    assert min(moved) >= -1e-6 and max(moved) <= 200 + 1e-6
    if all(after - before >= 13 for before, after in itertools.pairwise(sorted(places))):
        assert moved == pytest.approx(places)


@given(st.text())
def test_elements_escape_text_and_attributes(text: str) -> None:
    written = element("text", text, data_tip=text)
    found = re.fullmatch(r'<text data-tip="([^"<>]*)">([^<>]*)</text>', written, re.DOTALL)
    assert found and unescape(found[1]) == unescape(found[2])


def test_forgetting_bars_are_as_long_as_their_numbers(made: Callable) -> None:
    it = made()
    it.value["arms"]["mer"]["forgetting"]["en"]["mean"] = -0.4
    found = results.parse(it.value)
    across = forgetting.scale(found.arms)
    values = {arm.name: arm.forgetting["en"] for arm in found.arms if arm.forgetting}
    drawn = forgetting.draw("English", values, palette.styles(list(values)), across)
    bars = [
        (float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    ]
    zero, unit = across(0), across(1) - across(0)
    for (x, width), value in zip(bars, values.values(), strict=True):
        assert width == pytest.approx(abs(value.mean) * unit, abs=0.02)
        assert (x + width if value.mean < 0 else x) == pytest.approx(zero, abs=0.02)


def test_heat_maps_mark_what_is_not_trained_yet(made: Callable) -> None:
    found = results.parse(made().value)
    scale = heatmap.colour_scale([arm.loss for arm in found.arms])
    drawn = {arm.name: heatmap.draw(arm, arm.loss, found.languages, scale, "nats", {}) for arm in found.arms}
    assert drawn["sequential"].count("hatched") == 3 + 2 + 1 and drawn["sequential"].count("own-cell") == 3
    assert drawn["joint"].count("hatched") == 3 and drawn["joint"].count("own-cell") == 3
    inks = [float(ink) for ink in re.findall(r"--ink:([\d.]+)", drawn["sequential"])]
    losses = [value.mean for stage in found.arms[0].stages for value in found.arms[0].loss[stage].values()]
    assert [x for _, x in sorted(zip(losses, inks, strict=True))] == sorted(inks, reverse=True)


def test_ledger_segments_add_up(made: Callable) -> None:
    found = results.parse(made().value)
    arms = [arm for arm in found.arms if arm.name in ("replay", "joint")]
    drawn = ledger.draw(arms, palette.styles(["replay", "joint"]), {})
    segments = re.findall(r'width="([\d.]+)" height="20" class="tokens (new|replayed)"', drawn)
    lengths = {kind: sum(float(width) + 1.5 for width, k in segments[:-1] if k == kind) for kind in ("new", "replayed")}
    assert lengths["replayed"] / lengths["new"] == pytest.approx(204_800 / 921_600, rel=1e-3)


@pytest.mark.parametrize("kind", ["stages", "tokens"])
def test_curves_keep_values_and_put_joint_over_all_stages(kind: str, made: Callable, tmp_path: Path) -> None:
    it = made()
    lines = history.read(it.write(tmp_path)[1])
    across, up = curves.axis(kind, it.languages, lines), curves.loss_scale(lines)
    drawn = curves.draw("en", lines, palette.styles(it.arms), across, up)
    shown = {line["name"]: line for line in json.loads(unescape(re.search(r'data-lines="([^"]*)"', drawn)[1]))}
    for arm in it.arms:
        rows = [row for row in it.rows if row["arm"] == arm and row["language"] == "en"]
        assert shown[arm]["loss"] == [round(row["loss"], 3) for row in rows]
        assert [shown[arm]["stages"][index] for index in shown[arm]["stage"]] == [row["stage"] for row in rows]
        assert all(across.scale.start <= x <= across.scale.end for x in shown[arm]["x"])
    ends = {arm: shown[arm]["x"][-1] for arm in it.arms}
    if kind == "stages":
        assert set(ends.values()) == {across.scale.end}
    else:
        assert ends["sequential"] / 1 == ends["joint"] < ends["replay"] == across.scale.end


def test_long_histories_are_thinned_but_keep_stage_ends(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    rows = [
        f"sequential,0,{stage},en,{start + step},{start + step},2.5"
        for stage, start in (("en", 0), ("fr", 5000))
        for step in range(1, 5001)
    ]
    path.write_text("\n".join(["arm,seed,stage,language,step,tokens,loss", *rows]))
    (line,) = history.read(path)
    assert len(line.points) < 110
    assert [point.step for point in line.boundaries] == [5000, 10000]
    assert {1, 5000, 5001, 10000} <= {point.step for point in line.points}
