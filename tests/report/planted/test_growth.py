"""scaling.json as it is read, drawn and put into words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from palimpsest.artifact import write_json
from palimpsest.errors import ArtifactError
from palimpsest.report import growth, page, palette, scaling
from palimpsest.report.charts import scaling as chart

THIN = "\u202f"


def _ticks(svg: ET.Element, name: str) -> list[tuple[float, float]]:
    """Place and value of an axis's labels; k and M are written out."""
    found = []
    for text in svg.iter("text"):
        if text.get("class") == f"tick {name}":
            number = text.text.replace(f"{THIN}k", "e3").replace(f"{THIN}M", "e6")
            found.append((float(text.get("x" if name == "middle" else "y")), float(number)))
    return found


@pytest.mark.parametrize("measure", ["retained_loss", "learned_loss"])
def test_runs_and_curves_are_drawn_where_they_are(measure: str, planted) -> None:
    found = scaling.parse(planted.scaling())
    styles = palette.styles(found.arms)
    svg = ET.fromstring(chart.draw(found, measure, styles))
    (x1, f1), *_, (x2, f2) = _ticks(svg, "middle")
    (y1, l1), *_, (y2, l2) = _ticks(svg, "end")

    def place(flops: float, loss: float) -> tuple[float, float]:
        share = math.log(flops / f1) / math.log(f2 / f1)
        return x1 + share * (x2 - x1), y1 - 4 + (loss - l1) / (l2 - l1) * (y2 - y1)

    runs = [shape for shape in svg.iter() if shape.get("class") == "run"]
    assert len(runs) == len(found.points) == 24
    circles = [shape for shape in runs if shape.tag == "circle"]
    expected = [place(p.flops_per_token, p.measure(measure)) for p in found.points if p.arm == "sequential"]
    drawn = [(float(shape.get("cx")), float(shape.get("cy"))) for shape in circles]
    for one, other in zip(drawn, expected, strict=True):
        assert one == pytest.approx(other, abs=0.05)
    fills = {p.rate: re.search(r"--fill:([\d.]+)", s.get("style"))[1] for p, s in zip(found.points, runs, strict=True)}
    assert fills == {0.0: "0.00", 0.05: "0.50", 0.25: "1.00"}
    below = 0.3 if measure == "learned_loss" else 0
    curves = [path for path in svg.iter("path") if path.get("class", "").startswith("curve")]
    assert [path.get("class") for path in curves] == ["curve"] * 3 + ["curve untold"]
    for path, (arm, rate) in zip(curves, planted.laws, strict=True):
        for step, corner in enumerate(path.get("d")[1:].split("L")):
            flops = 1.1e6 * (3.1e7 / 1.1e6) ** (step / 20)
            expected = place(flops, planted.retained(arm, rate, flops) - below)
            assert tuple(map(float, corner.split())) == pytest.approx(expected, abs=0.05)
    assert {"sequential", f"replay 5{THIN}%", f"replay 25{THIN}%", f"mer 25{THIN}%"} <= {
        t.text for t in svg.iter("text")
    }


def test_bands_stay_in_the_panel(planted) -> None:
    value = planted.scaling()
    for place in value["fits"][0]["curve"]:
        place["high"], place["low"] = 1e300, 0.0
    found = scaling.parse(value)
    svg = ET.fromstring(chart.draw(found, "retained_loss", palette.styles(found.arms)))
    ribbon = next(path for path in svg.iter("path") if path.get("class") == "ribbon")
    heights = [float(corner.split()[1]) for corner in re.split("[ML]", ribbon.get("d").rstrip("Z")) if corner]
    assert min(heights) == 34 and max(heights) == 306


def test_settings_that_the_sweep_varies_are_named_and_kept_apart(planted) -> None:
    value = planted.scaling()
    for entry in [*value["points"], *value["fits"]]:
        if entry["arm"] == "mer":
            entry["values"] = entry.get("values", {}) | {"mer.step_size": 0.5}
    extra = [dict(point, values=point["values"] | {"mer.step_size": 0.1}) for point in value["points"][-6:]]
    few = {"law": "", "curve": [], "coefficients": {}, "ci95": {}, "values": {"mer.step_size": 0.1}, "tells": False}
    value["points"] += extra
    value["fits"].append(value["fits"][-2] | few | {"why": "1 size"})
    found = scaling.parse(value)
    assert {found.name(point) for point in found.points if point.arm == "mer"} == {
        f"mer 25{THIN}%, ε 0.5",
        f"mer 25{THIN}%, ε 0.1",
    }
    assert found.name(found.points[0]) == "sequential"
    assert [seeds.name for seeds in found.seeds].count(f"mer 25{THIN}%, ε 0.1") == 3
    value["points"][-1]["accounting"] = "replace"
    both = scaling.parse(value)
    assert both.name(both.points[-2]) == f"mer 25{THIN}%, add, ε 0.1"


def test_seeds_come_together(planted) -> None:
    first = scaling.parse(planted.scaling()).seeds[0]
    loss = planted.retained("sequential", 0, 1.1e6)
    assert first.retained.mean == pytest.approx(loss + 0.01) and first.retained.n == 2
    assert first.retained.sd == pytest.approx(0.02 / math.sqrt(2)) and first.learned.sd == pytest.approx(
        0.01 / math.sqrt(2)
    )


def test_exchange_says_only_what_the_interval_carries(planted) -> None:
    value = planted.scaling()
    value["exchange"].append(value["exchange"][1] | {"growth": 0.9, "ci95": [0.7, 1.2], "why": ""})
    found = scaling.parse(value)
    rows = growth.exchange(found, palette.styles(found.arms))
    assert [row.reading for row in rows] == [
        "Replay costs less than the growth that does as much.",
        "Neither is cheaper beyond doubt: the interval holds the cost of replay. Within the sizes tried.",
        "The data cannot tell. No size without replay retains as much.",
        "Growth does as much for less than replay.",
    ]
    assert [(row.growth, row.interval, row.cost) for row in rows][:3] == [
        ("2.31×", "1.62–3.4", "1.05×"),
        ("1.41×", "1.02–2.9", "1.33×"),
        ("–", "–", "1.33×"),
    ]
    laws = growth.fits(found, palette.styles(found.arms))
    assert laws[0].coefficients == ["E = 2.1 (1.7 to 2.4)", "A = 90 (45 to 180)", "b = 0.27 (0.21 to 0.33)"]
    assert laws[-1].why == "B lies between 0.05 and 1.9." and not laws[-1].tells


def _spoilt(value: dict, *path: object) -> dict:
    *above, last = path
    part = value
    for key in above:
        part = part[key]
    del part[last]
    return value


@pytest.mark.parametrize(
    "path", [("points",), ("points", 3, "flops"), ("fits", 0, "curve", 2, "low"), ("exchange", 1, "tells")], ids=str
)
def test_other_contents_are_named(path: tuple, planted) -> None:
    with pytest.raises(
        ArtifactError, match=rf"s\.json: KeyError\('{path[-1]}'\) where palimpsest\.scaling/1 was expected"
    ):
        scaling.parse(_spoilt(planted.scaling(), *path), "s.json")


def test_other_formats_are_named(planted, tmp_path: Path) -> None:
    (tmp_path / "scaling.json").write_text('{"format": "palimpsest.sweep/2"}')
    with pytest.raises(
        ArtifactError, match=r"scaling\.json: format is 'palimpsest\.sweep/2', expected 'palimpsest\.sc"
    ):
        scaling.read(tmp_path / "scaling.json")
    value = planted.scaling()
    value["fits"][0]["measure"] = "speed"
    with pytest.raises(ArtifactError, match="speed"):
        scaling.parse(value)


def test_section_is_there_only_with_its_file(made: Callable, planted, tmp_path: Path) -> None:
    eval_all, curves = made(arms=("sequential", "replay")).write(tmp_path)
    page.build(eval_all, curves, [], tmp_path / "without.html")
    assert "Replay or a larger model" not in (tmp_path / "without.html").read_text()
    page.build(eval_all, curves, [], tmp_path / "with.html", scaling=planted.write_scaling(tmp_path))
    text = unescape((tmp_path / "with.html").read_text())
    assert "Replay or a larger model" in text and "1.62–3.4" in text and "cannot tell" in text
    assert 'data-toggle="2"' in text  # mer is swept, though it is not compared


def test_all_sections_are_well_formed_and_odd_names_stay_text(made: Callable, planted, tmp_path: Path) -> None:
    odd = '"><script>alert(1)</script><b>'
    value = planted.scaling()
    for entry in value["points"] + value["fits"] + value["exchange"]:
        entry["arm"] = odd if entry["arm"] == "mer" else entry["arm"]
        entry["why"] = odd
    write_json(tmp_path / "scaling.json", value)
    aligned = planted.write_alignment(tmp_path)
    aligned.write_text(aligned.read_text().replace("blocks 1-2", odd.replace('"', "")))
    page.build(*made().write(tmp_path), [], tmp_path / "page.html", aligned, tmp_path / "scaling.json")
    text = (tmp_path / "page.html").read_text()
    main = text[text.index("<main>") : text.index("</main>") + len("</main>")]
    tree = ET.fromstring(re.sub(r"<(input|wbr)[^>]*>| open(?=>)", "", main))  # what HTML has and XML has not
    assert not list(tree.iter("script")) and odd in "".join(tree.itertext())
    captions = [element.text for element in tree.iter("b") if re.fullmatch(r"(Figure|Table) \d+\.", element.text or "")]
    for kind, number in (("Figure", 10), ("Table", 7)):
        assert [name for name in captions if name.startswith(kind)] == [f"{kind} {n + 1}." for n in range(number)]
