"""The page in a real browser: it opens from disk without a console message, and every chart is drawn."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
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
_PROBE = """<style>.view { display: block !important }</style><script>
addEventListener("load", () => {
  const charts = [...document.querySelectorAll("svg.chart")];
  const boxes = charts.map((chart) => chart.getBBox());
  const root = document.documentElement.dataset;
  root.charts = charts.length;
  root.drawn = boxes.filter((box) => box.width > 50 && box.height > 20).length;
  const right = (i) => charts[i].viewBox.baseVal.width - boxes[i].x - boxes[i].width;
  root.inside = charts.filter((_, i) => boxes[i].x >= -1 && right(i) >= -1).length;
  root.wide = document.documentElement.scrollWidth - innerWidth;
  const move = (x, y) => new PointerEvent("pointermove", { clientX: x, clientY: y, bubbles: true });
  const panel = document.querySelector("svg[data-lines]"), box = panel.getBoundingClientRect();
  panel.dispatchEvent(move(box.left + box.width / 2, box.top + box.height / 2));
  root.tip = document.getElementById("tip").textContent;
  document.querySelector("[data-toggle='0']").click();
  root.off = document.querySelectorAll("[data-arm='0'].off").length;
  panel.dispatchEvent(move(box.left + box.width / 2, box.top + box.height / 2));
  root.tipWithout = document.getElementById("tip").textContent;
  document.querySelector("[data-toggle='0']").click();
  root.on = document.querySelectorAll("[data-arm='0']:not(.off)").length;
});
</script></body>"""


@pytest.mark.parametrize("width", [1280, 480])
@pytest.mark.parametrize("languages", [("en", "fr", "de"), ("en", "fr", "de", "ar", "ja")], ids=["three", "five"])
def test_draws_every_chart_and_answers_the_pointer(
    width: int, languages: tuple[str, ...], made: Callable, tmp_path: Path
) -> None:
    eval_all, curves = made(languages=languages, seeds=3).write(tmp_path)
    page.build(eval_all, curves, [], tmp_path / "report.html")
    probed = tmp_path / "probed.html"
    probed.write_text((tmp_path / "report.html").read_text().replace("</body>", _PROBE))
    shown = subprocess.run(
        ["chromium", *_QUIET, f"--window-size={width},2000", f"--user-data-dir={tmp_path / 'new'}", probed.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    root = re.search(r"<html[^>]*>", shown.stdout)
    assert root
    seen = dict(re.findall(r'data-([\w-]+)="([^"]*)"', root[0]))
    assert int(seen["charts"]) > 15 and seen["drawn"] == seen["inside"] == seen["charts"]
    assert int(seen["wide"]) <= 0
    assert "sequential" in seen["tip"] and "step" in seen["tip"]
    assert "sequential" not in seen["tip-without"] and "replay" in seen["tip-without"]
    assert int(seen["off"]) == int(seen["on"]) > 10
