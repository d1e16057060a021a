"""The page in a real browser: it opens from disk without a console message, every chart is drawn, and answers."""

from __future__ import annotations

import http.server
import json
import queue
import re
import shutil
import subprocess
import threading
from html import escape
from pathlib import Path
from typing import Any

import pytest
from support.made_analyses import MadeAnalyses
from support.made_results import MadeResults

from palimpsest.report.build_report import build_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome on the PATH"),
]
_QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --v=0 --remote-debugging-port=0"
).split()
_FIGURES = (
    "ink headline matrix curves forgetting plane scaling exchange alignment interpolation tasks generated ledger "
    "ledger-table data sources dropped"
).split()
_PROBE = f"<script>{Path(__file__).with_name('browser_probe.js').read_text()}</script></body>"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("languages", [("en", "fr", "de"), ("en", "fr", "de", "ar", "ja")], ids=["three", "five"])
def test_draws_every_chart_and_answers(width: int, languages: tuple[str, ...], tmp_path: Path) -> None:
    seen = look(MadeResults(languages=languages, seeds=3), width, tmp_path)
    assert len(seen["charts"]) == 11 and seen["drawn"] == seen["charts"]
    assert seen["wide"] <= 0 and seen["cropped"] == 0
    assert seen["figures"] == _FIGURES and seen["links"]
    assert seen["touching"] == []
    assert "sequential" in seen["tips"]["curves"] and "step" in seen["tips"]["curves"]
    assert "mer: fr, step" in seen["tips"]["cosines"] and "sequential" not in seen["tips"]["cosines"]
    assert re.search(r"name.*learned2\.\d{3}", seen["tips"]["plane"]) and "seeds3" in seen["tips"]["plane"]
    assert "stageinit" in seen["tips"]["matrix"] and "seeds3" in seen["tips"]["matrix"]
    assert "kindnew" in seen["tips"]["tokens"]
    assert not any(word in tip for tip in seen["tips"].values() for word in ("NaN", "undefined", "null"))
    assert seen["off"]["pressed"] == "false" and seen["off"]["parts"] > 15 and seen["off"]["named"] == []
    assert "sequential" not in seen["off"]["tip"] and "replay" in seen["off"]["tip"]
    assert seen["on"] == ["loss-by-stages", "forgetting", "loss-matrix-nats-per-token"]
    assert seen["zoom"] == [True, False]
    assert seen["names"][:3] == [f"loss-by-stages.{kind}" for kind in ("svg", "png", "csv")]
    assert seen["svg"].startswith("<svg") and "var(--" not in seen["svg"] and 'id="hatch"' in seen["svg"]
    assert seen["png"] == "PNGtrue"
    assert seen["csv"][0] == "arm,language,stage,step,tokens,loss,low,high" and seen["csv"][1].startswith("joint,en,")
    assert seen["printed"] == []
    assert seen.get("direction", ["rtl", "rtl"]) == ["rtl", "rtl"] and ("direction" in seen) == ("ar" in languages)


def test_hostile_names_are_drawn_as_text(tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=\"document.documentElement.dataset.hit=1\">'] + '"
    seen = look(MadeResults(languages=("en", hostile), arms=("sequential", hostile), seeds=1), 1280, tmp_path, {})
    assert seen["drawn"] == seen["charts"] and len(seen["charts"]) >= 7
    assert any("<img" in name for name in seen["texts"]) and not seen["hit"]


def look(made: MadeResults, width: int, folder: Path, analyses: dict[str, Path] | None = None) -> dict[str, Any]:
    """What the probe saw of the page in a frame of this width, since a window has a least width."""
    eval_all, curves = made.write(folder)
    if analyses is None:
        alignment = MadeAnalyses.write_alignment(folder, made.languages[1:], made.seeds)
        analyses = {"alignment": alignment, "scaling": MadeAnalyses.write_scaling(folder)}
    probe = _PROBE if analyses else _HOSTILE_PROBE
    build_report(eval_all, curves, [], folder / "report.html", **analyses)
    text = probe.join((folder / "report.html").read_text().rsplit("</body>", 1))  # Vega's script has one too
    frame = f'<iframe style="width:{width}px;height:2000px;border:0" srcdoc="{escape(text)}"></iframe>'
    return _open(f"<!doctype html><html><body>{_TELL}{frame}</body></html>", folder)


_TELL = "<script>window.tell = (seen) => fetch('/seen', { method: 'POST', body: JSON.stringify(seen) });</script>"


def _open(text: str, folder: Path) -> dict[str, Any]:
    """What a page tells when it is done. It may take as long as a busy machine needs."""
    told: queue.Queue[bytes] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(text.encode() if self.path == "/" else b"")

        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log = folder / "browser.log"
    command = [BROWSER, *_QUIET, "--window-size=1400,2000", f"--user-data-dir={folder / 'profile'}"]
    with log.open("wb") as errors:
        browser = subprocess.Popen([*command, f"http://127.0.0.1:{server.server_port}/"], stderr=errors)
    try:
        seen = json.loads(told.get(timeout=300))
    except queue.Empty:
        pytest.fail(f"the page told nothing: {log.read_text(errors='replace')}")
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        server.server_close()
    assert "CONSOLE" not in log.read_text(errors="replace"), log.read_text(errors="replace")
    return dict(seen)


_HOSTILE_PROBE = """<script>
addEventListener("load", async () => {
  const root = document.documentElement;
  while (!root.dataset.drawn) await new Promise((next) => setTimeout(next, 50));
  const charts = [...document.querySelectorAll("[data-chart]")];
  parent.tell({
    charts: charts.map((chart) => chart.dataset.chart),
    drawn: charts.filter((chart) => chart.querySelector("svg .role-mark")).map((chart) => chart.dataset.chart),
    texts: [...document.querySelectorAll("svg text")].map((text) => text.textContent),
    hit: Boolean(root.dataset.hit || document.querySelector("img")),
  });
});
</script></body>"""
