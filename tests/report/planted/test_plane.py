"""The stability–plasticity plane, read off as a person would: from the labels at its axes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.report import palette, results, scaling
from palimpsest.report.charts import plane
from palimpsest.report.charts.labels import Free
from palimpsest.report.charts.marks import mark


def _draw(made, planted, *, sweep: bool, seeds: int = 3):
    found = results.parse(made(seeds=seeds).value)
    swept = scaling.parse(planted.scaling()) if sweep else None
    styles = palette.styles([arm.name for arm in found.arms])
    spots = plane.spots(found, swept, styles)
    joint = found.arm("joint").retained
    return found, spots, ET.fromstring(plane.draw(spots, (styles["joint"], joint)))


def _reading(svg: ET.Element) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """From pixels to values, by the first and the last label of either axis."""
    labels = [text for text in svg.iter("text") if text.get("class", "").startswith("tick ") and text.text[0].isdigit()]
    across = [(float(text.get("x")), float(text.text)) for text in labels if "middle" in text.get("class")]
    up = [(float(text.get("y")) - 4, float(text.text)) for text in labels if "end" in text.get("class")]
    return _between(across[0], across[-1]), _between(up[0], up[-1])


def _between(one: tuple[float, float], other: tuple[float, float]) -> Callable[[float], float]:
    return lambda place: one[1] + (place - one[0]) * (other[1] - one[1]) / (other[0] - one[0])


def _centre(shape: ET.Element) -> tuple[float, float]:
    if shape.tag == "circle":
        return float(shape.get("cx")), float(shape.get("cy"))
    corners = [tuple(map(float, corner.split())) for corner in re.split("[ML]", shape.get("d").rstrip("Z")) if corner]
    return tuple(sum(values) / len(corners) for values in zip(*corners, strict=True))


def _marks(svg: ET.Element) -> dict[str, list[tuple[ET.Element, ET.Element]]]:
    """By name: the group and the mark in it."""
    found: dict[str, list[tuple[ET.Element, ET.Element]]] = {}
    for group in svg.iter("g"):
        shapes = [child for child in group if "outlined" in child.get("class", "")]
        if shapes:
            found.setdefault(group.get("data-tip").split(":")[0], []).append((group, shapes[0]))
    return found


@pytest.mark.parametrize("sweep", [False, True])
def test_marks_stand_where_their_losses_are(sweep: bool, made: Callable, planted) -> None:
    found, _, svg = _draw(made, planted, sweep=sweep)
    across, up = _reading(svg)
    marks = _marks(svg)
    for arm in found.arms:
        if arm.name == "joint":
            assert arm.name not in marks
            continue
        ((group, shape),) = marks[arm.name]
        x, y = _centre(shape)
        assert across(x) == pytest.approx(arm.learned.mean, abs=2e-3) and up(y) == pytest.approx(
            arm.retained.mean, abs=2e-3
        )
        bars = [[float(line.get(key)) for key in ("x1", "y1", "x2", "y2")] for line in group.findall("line")]
        (left, _, right, _), (_, low, _, high) = bars
        assert across(right) - across(left) == pytest.approx(2 * arm.learned.sd, abs=2e-3)
        assert up(high) - up(low) == pytest.approx(2 * arm.retained.sd, abs=2e-3)
    if sweep:
        ((_, shape),) = marks["replay 5\u202f%, 1.9\u202fM parameters"]
        mean = planted.retained("replay", 0.05, 6.2e6)
        x, y = _centre(shape)
        assert up(y) == pytest.approx(mean + 0.01, abs=3e-3) and across(x) == pytest.approx(mean - 0.295, abs=3e-3)


def test_diagonal_is_where_all_is_kept_and_joint_a_line(made: Callable, planted) -> None:
    found, _, svg = _draw(made, planted, sweep=False)
    across, up = _reading(svg)
    (diagonal,) = [line for line in svg.iter("line") if line.get("class") == "diagonal"]
    for x, y in (("x1", "y1"), ("x2", "y2")):
        assert across(float(diagonal.get(x))) == pytest.approx(up(float(diagonal.get(y))), abs=2e-3)
    (joint,) = [line for line in svg.iter("line") if line.get("class") == "reference"]
    assert up(float(joint.get("y1"))) == pytest.approx(found.arm("joint").retained.mean, abs=2e-3)
    words = " ".join(text.text for text in svg.iter("text"))
    assert "learns better" in words and "keeps better" in words and "below on the left" in words


@pytest.mark.parametrize("sweep", [False, True])
def test_colour_is_compute(sweep: bool, made: Callable, planted) -> None:
    _, spots, svg = _draw(made, planted, sweep=sweep)
    flops = [spot.flops for spot in spots]
    shapes = [shape for marks in _marks(svg).values() for _, shape in marks]
    shares = [float(re.search(r"--share:([\d.]+)", shape.get("style"))[1]) for shape in shapes]
    low, high = min(flops), max(flops)
    scale = math.log if high / low >= 4 else float
    assert sweep == (scale is math.log)
    expected = [(scale(value) - scale(low)) / (scale(high) - scale(low)) for value in flops]
    assert sorted(shares) == pytest.approx(sorted(expected), abs=6e-4)


def test_one_seed_has_no_bars_and_one_amount_of_compute_a_colour(made: Callable) -> None:
    it = made(arms=("sequential", "reptile"))
    found = results.parse(it.value)
    spots = plane.spots(found, None, palette.styles(list(it.arms)))
    svg = plane.draw(spots, None)
    assert "whisker" not in svg and svg.count("--share:0.500") == 2
    assert "Colour scale" in plane.legend(spots)


@pytest.mark.parametrize(
    "shape", ["circle", "square", "diamond", "triangle", "down", "pentagon", "hexagon", "star", "cross"]
)
def test_marks_are_around_their_place_and_of_about_one_area(shape: str) -> None:
    drawn = ET.fromstring(mark(shape, 50, 70, 8))
    assert _centre(drawn) == pytest.approx((50, 70), abs=0.02)
    if shape != "circle":
        corners = [tuple(map(float, c.split())) for c in re.split("[ML]", drawn.get("d").rstrip("Z")) if c]
        pairs = zip(corners, corners[1:] + corners[:1], strict=True)
        area = abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
        assert 0.7 < area / (math.pi * 64) < 1.4


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=12, unique=True))
def test_names_keep_off_marks_and_names_where_there_is_room(cells: list[tuple[int, int]]) -> None:
    free = Free(left=0, top=0, right=700, bottom=500)
    places = [(60 + 130 * x, 40 + 80 * y) for x, y in cells]
    for x, y in places:
        free.block(x, y, 8)
    for x, y in places:
        free.name("replay 25 %", x, y)
    boxes = free.taken
    assert len(boxes) == 2 * len(places)
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)
    assert all(left >= 0 and top >= 0 and right <= 700 and bottom <= 500 for left, top, right, bottom in boxes)
