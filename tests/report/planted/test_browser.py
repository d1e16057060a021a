"""The page in a real browser: it opens from disk without a console message, and every part is drawn and answers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path

import pytest

from palimpsest.report import page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium binary on the PATH"),
]
_QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --v=0 --dump-dom"
).split()
_FIGURES = (
    "ink headline matrix curves forgetting plane scaling exchange alignment interpolation tasks generated ledger "
    "ledger-table data sources dropped"
).split()
_PROBE = """<style id="probe">.view { display: block !important }</style><script>
addEventListener("load", () => {
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const seen = {};
  const charts = all("svg.chart"), boxes = charts.map((chart) => chart.getBBox());
  seen.charts = charts.length;
  seen.drawn = boxes.filter((box) => box.width > 50 && box.height > 20).length;
  const right = (i) => charts[i].viewBox.baseVal.width - boxes[i].x - boxes[i].width;
  const outside = charts.filter((_, i) => boxes[i].x < -1 || right(i) < -1);
  seen.outside = outside.map((chart) => chart.getAttribute("aria-label")).join(" ");
  seen.wide = document.documentElement.scrollWidth - innerWidth;
  const high = all("figure").filter((figure) => figure.getBoundingClientRect().height > 40);
  seen.figures = high.map((figure) => figure.id).join(" ");
  const apart = (a, b) => a.right - 2 < b.left || b.right - 2 < a.left || a.bottom - 3 < b.top || b.bottom - 3 < a.top;
  seen.touching = charts.flatMap((chart) => {
    const names = all(".label", chart).map((name) => [name.textContent, name.getBoundingClientRect()]);
    const pairs = names.flatMap((name, i) => names.slice(i + 1).map((other) => [...name, ...other]));
    return pairs.filter(([, a, , b]) => !apart(a, b)).map(([name, , other]) => `${name}/${other}`);
  }).join(" ");

  const tip = document.getElementById("tip");
  const point = (part) => {
    const box = part.getBoundingClientRect();
    const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true };
    part.dispatchEvent(new PointerEvent("pointermove", at));
    return tip.textContent;
  };
  const [curves, aligned] = ["curves", "alignment"].map((id) => document.querySelector(`#${id} svg[data-lines]`));
  const mark = document.querySelector("#plane [data-tip^='mer:']"), run = document.querySelector("#scaling .run");
  Object.assign(seen, { tip: point(curves), tipAligned: point(aligned), tipMark: point(mark), tipRun: point(run) });
  seen.tipCell = point(document.querySelector("#matrix [data-tip]"));

  const shown = (part) => getComputedStyle(part).display !== "none";
  const parts = all("[data-arm='0']");
  document.querySelector("[data-toggle='0']").click();
  seen.off = all("[data-arm='0'].off").length;
  seen.stillDrawn = parts.filter((part) => part.closest("svg.chart") && shown(part)).length;
  seen.pressed = document.querySelector("[data-toggle='0']").getAttribute("aria-pressed");
  seen.tipWithout = point(curves);
  document.querySelector("[data-toggle='0']").click();
  seen.on = all("[data-arm='0']:not(.off)").length;

  document.querySelector("[data-toggle='3']").click();
  const stages = all(".written-stage").filter(shown);
  seen.emptyStages = stages.filter((stage) => !all(".continuation", stage).some(shown)).length;
  seen.stagesHidden = all(".written-stage").length - stages.length;
  document.querySelector("[data-toggle='3']").click();

  document.getElementById("probe").disabled = true;
  const views = () => all(".view").filter(shown).map((view) => view.classList[1]).join(" ");
  seen.viewsBefore = views();
  for (const name of ["unit-bits", "axis-tokens", "layers-groups"]) document.getElementById(name).click();
  seen.viewsAfter = views();
  const arabic = document.querySelector(".prompt[lang='ar']");
  if (arabic) {
    arabic.closest("details").open = true;
    const first = all(".continuation p[lang='ar']").find((written) => /[\\u0600-\\u06ff]/.test(written.textContent));
    seen.direction = [arabic, first].map((text) => getComputedStyle(text).direction).join(" ");
  }
  Object.assign(parent.document.documentElement.dataset, seen);
});
</script></body>"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("languages", [("en", "fr", "de"), ("en", "fr", "de", "ar", "ja")], ids=["three", "five"])
def test_draws_every_part_and_answers_the_pointer(
    width: int, languages: tuple[str, ...], made: Callable, planted, tmp_path: Path
) -> None:
    seen = _look(_build(made(languages=languages, seeds=3), planted, tmp_path), width, tmp_path)
    assert int(seen["charts"]) > 15 and seen["drawn"] == seen["charts"]
    assert seen["outside"] == ""
    assert int(seen["wide"]) <= 0
    assert seen["figures"].split() == _FIGURES
    assert seen["touching"] == ""
    assert "sequential" in seen["tip"] and "step" in seen["tip"]
    assert "sequential" not in seen["tip-without"] and "replay" in seen["tip-without"]
    assert "mer" in seen["tip-aligned"] and "step" in seen["tip-aligned"] and "sequential" not in seen["tip-aligned"]
    assert seen["tip-mark"].startswith("mer: learned 2.") and "FLOPs; 3 seeds" in seen["tip-mark"]
    assert "seed 0" in seen["tip-run"] and "parameters" in seen["tip-run"]
    assert "untrained" in seen["tip-cell"] and "(3 seeds)" in seen["tip-cell"]
    assert int(seen["off"]) == int(seen["on"]) > 30 and seen["still-drawn"] == "0" and seen["pressed"] == "false"
    assert seen["empty-stages"] == "0" and int(seen["stages-hidden"]) == 2 * len(languages)  # joint's, of each prompt
    assert seen["views-before"] == "unit-nats axis-stages layers-all"
    assert seen["views-after"] == "unit-bits axis-tokens layers-groups"
    assert seen.get("direction", "rtl rtl") == "rtl rtl" and ("direction" in seen) == ("ar" in languages)


def _build(made, planted, folder: Path) -> str:
    eval_all, curves = made.write(folder)
    aligned = planted.write_alignment(folder, made.languages[1:], made.seeds)
    page.build(eval_all, curves, [], folder / "report.html", aligned, planted.write_scaling(folder))
    return (folder / "report.html").read_text().replace("</body>", _PROBE)


def _look(text: str, width: int, folder: Path) -> dict[str, str]:
    """What the probe saw. A window has a least width, so a phone's is that of a frame within it."""
    probed = folder / "probed.html"
    framed = (
        f'<!doctype html><html><body><iframe style="width:{width}px;height:2000px" srcdoc="{escape(text)}"></iframe>'
    )
    probed.write_text(text if width >= 500 else framed + "</body></html>")
    shown = subprocess.run(
        ["chromium", *_QUIET, f"--window-size={width},2000", f"--user-data-dir={folder / 'new'}", probed.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr, shown.stderr
    root = re.search(r"<html[^>]*>", shown.stdout)
    assert root
    return {name: unescape(value) for name, value in re.findall(r'data-([\w-]+)="([^"]*)"', root[0])}
