"""alignment.csv as it is read, drawn and put into words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree as ET

import pytest

from palimpsest.errors import ArtifactError
from palimpsest.report import agreement, alignment, page, palette, results
from palimpsest.report.charts import alignment as chart

HEADER = "arm,seed,stage,step,tokens,at,group,cosine"


def _line(lines: list[alignment.Line], arm: str, group: str) -> alignment.Line:
    return next(line for line in lines if (line.arm, line.group) == (arm, group))


def test_points_are_means_over_seeds(planted, tmp_path: Path) -> None:
    lines = alignment.read(planted.write_alignment(tmp_path, seeds=3))
    assert [(line.arm, line.group) for line in lines] == [(a, g) for a in ("replay", "mer") for g in planted.groups]
    for line in lines:
        assert [point.step for point in line.points] == list(range(160, 551, 10)) and line.every == 1
        for point in line.points:
            values = [planted.cosine(line.arm, seed, point.step, line.group) for seed in range(3)]
            assert (point.low, point.high) == pytest.approx((min(values), max(values)))
            assert point.mean == pytest.approx(fmean(values)) and point.seeds == 3
            assert point.stage == ("fr" if point.step <= 350 else "de") and point.tokens == point.step * 2048
    assert _line(lines, "replay", "all").change is None
    assert _line(lines, "mer", "head").change == pytest.approx(planted.change)


def test_long_stages_are_averaged_not_thinned(tmp_path: Path) -> None:
    values = [((step * 7919) % 101) / 101 for step in range(1000)]
    rows = [f"mer,0,fr,{step},{step},step,all,{value}" for step, value in enumerate(values)]
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *rows]))
    (line,) = alignment.read(tmp_path / "a.csv")
    assert len(line.points) <= 48 and line.every == 21
    assert line.points[3].mean == pytest.approx(fmean(values[63:84])) and line.points[3].step == 73


def test_half_a_window_is_no_window(tmp_path: Path) -> None:
    rows = ["mer,0,fr,5,5,step,all,0.1", "mer,0,fr,5,5,window,all,0.1", "mer,0,fr,9,9,window,all,0.2"]
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *rows, "mer,1,fr,9,9,interpolated,all,0.9"]))
    (line,) = alignment.read(tmp_path / "a.csv")
    assert line.windows == [] and line.change is None and agreement.changes([line], {}) == []


@pytest.mark.parametrize("frame", [chart.LARGE, chart.SMALL], ids=["large", "small"])
def test_lines_and_windows_are_drawn_where_they_are(
    frame: chart.Frame, made: Callable, planted, tmp_path: Path
) -> None:
    found = results.parse(made().value)
    lines = alignment.read(planted.write_alignment(tmp_path))
    styles = palette.styles([arm.name for arm in found.arms])
    svg = ET.fromstring(chart.draw("head", lines, found.arms, styles, frame))
    labels = [text for text in svg.iter("text") if re.fullmatch(r"−?[\d.]+", text.text or "")]
    across = [(float(t.get("x")), float(t.text)) for t in labels if "middle" in t.get("class")]
    up = [(float(t.get("y")) - 4, float(t.text.replace("−", "-"))) for t in labels if "end" in t.get("class")]

    def place(step: float, cosine: float) -> tuple[float, float]:
        (x1, s1), *_, (x2, s2) = across
        (y1, c1), *_, (y2, c2) = up
        return x1 + (step - s1) / (s2 - s1) * (x2 - x1), y1 + (cosine - c1) / (c2 - c1) * (y2 - y1)

    paths = [path for path in svg.iter("path") if path.get("class") == "curve"]
    assert len(paths) == 4  # two arms, two stages
    corners = [tuple(map(float, corner.split())) for path in paths for corner in path.get("d")[1:].split("L")]
    steps = range(160, 551, 10)
    expected = [place(step, planted.cosine(arm, 0, step, "head")) for arm in ("replay", "mer") for step in steps]
    for one, other in zip(corners, expected, strict=True):
        assert one == pytest.approx(other, abs=0.1)
    zero = next(float(line.get("y1")) for line in svg.iter("line") if line.get("class") == "zero")
    assert zero == pytest.approx(place(0, 0)[1], abs=0.05)
    starts = [float(line.get("x1")) for line in svg.iter("line") if line.get("class") == "boundary"][-2:]
    assert starts == pytest.approx([place(150, 0)[0], place(350, 0)[0]], abs=0.05)
    changes = [line for line in svg.iter("line") if line.get("class") == "change"]
    assert len(changes) == (20 if frame is chart.LARGE else 0)
    for line, step in zip(changes, range(170, 551, 20), strict=False):
        before = planted.cosine("mer", 0, step, "head")
        ends = [(float(line.get("x1")), float(line.get("y1"))), (float(line.get("x2")), float(line.get("y2")))]
        assert ends[0] == pytest.approx(place(step, before), abs=0.1)
        assert ends[1] == pytest.approx(place(step, before + planted.change), abs=0.1)
    tips = json.loads(svg.get("data-lines"))
    assert tips[1]["loss"] == [round(planted.cosine("mer", 0, step, "head"), 3) for step in steps]


def test_change_is_said_and_section_is_there_only_with_its_file(made: Callable, planted, tmp_path: Path) -> None:
    eval_all, curves = made().write(tmp_path)
    page.build(eval_all, curves, [], tmp_path / "without.html")
    assert "Do the gradients agree" not in (tmp_path / "without.html").read_text()
    aligned = planted.write_alignment(tmp_path)
    page.build(eval_all, curves, [], tmp_path / "with.html", alignment=aligned)
    text = (tmp_path / "with.html").read_text()
    assert "An interpolation of mer changes the cosine by +0.043 on average over 20 windows." in text
    assert all(f"<td>{group}</td>" in text for group in ("all weights", *planted.groups[1:]))
    aligned.write_text(HEADER + "\n")
    page.build(eval_all, curves, [], tmp_path / "empty.html", alignment=aligned)
    assert "Do the gradients agree" not in (tmp_path / "empty.html").read_text()


@pytest.mark.parametrize(
    "row", ["mer,0,fr,9,9,after,all,0.1", "mer,0,fr,9,9,step,all,", "mer,0,fr,x,9,step,all,0.1", "mer,0,fr"], ids=str
)
def test_other_contents_are_named(row: str, tmp_path: Path) -> None:
    (tmp_path / "alignment.csv").write_text("\n".join([HEADER, "mer,0,fr,1,1,step,all,0.5", row]))
    with pytest.raises(ArtifactError, match=r"alignment\.csv:3: expected arm, seed"):
        alignment.read(tmp_path / "alignment.csv")
    with pytest.raises(ArtifactError, match=r"nothing\.csv: no such file"):
        alignment.read(tmp_path / "nothing.csv")
