"""The templates of ``dvc plots`` in .dvc/plots: the page's charts, over DVC's data, for several revisions.

``python -m palimpsest.report.charts.dvc_templates .dvc/plots`` writes them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import altair as alt

from palimpsest.report.charts.forgetting import bars
from palimpsest.report.charts.loss_curves import loss_lines
from palimpsest.report.charts.loss_matrix import cells, numbers

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # DVC's page loads this version
_DATA = alt.NamedData("table")


def templates() -> dict[str, dict[str, Any]]:
    """Name of each template → its Vega-Lite, with the anchors that DVC replaces."""
    return {
        name: _anchored(chart)
        for name, chart in (("curves", _curves()), ("forgetting", _bars()), ("matrix", _matrix()))
    }


def _curves() -> alt.FacetChart:
    y = alt.Y("loss:Q").scale(zero=False)
    lines = loss_lines(alt.Chart(_DATA), alt.X("step:Q").title("optimiser step"), y, alt.Color("arm:N"))
    lines = lines.encode(strokeDash=alt.StrokeDash("rev:N", title="revision"), detail="seed:N")
    return lines.properties(width=260, height=220).facet(column=_facet("language"))


def _bars() -> alt.FacetChart:
    chart = bars(alt.Chart(_DATA), alt.Color("arm:N")).properties(width=220, height=alt.Step(20))
    return chart.facet(column=_facet("language"), row=alt.Row("rev:N", title=None))


def _matrix() -> alt.FacetChart:
    base = cells(alt.Chart(_DATA), alt.Y("stage:N", sort=None))
    colour = alt.Color("loss:Q", title="nats per token").scale(scheme="blues", reverse=True)
    outlined = numbers(base)
    outlined.mark.stroke, outlined.mark.strokeWidth = "white", 3
    chart = alt.layer(base.mark_rect().encode(color=colour), outlined, numbers(base)).properties(width=160, height=130)
    faceted = chart.facet(column=_facet("arm"), row=alt.Row("rev:N", title=None), data=_DATA)
    return faceted.resolve_scale(y="independent")


def _facet(field: str) -> alt.Column:
    return alt.Column(f"{field}:N", title=None, sort=None)


def _anchored(chart: alt.FacetChart) -> dict[str, Any]:
    found: dict[str, Any] = chart.to_dict()
    del found["config"]
    found["spec"].pop("data", None)
    anchors = {"data": {"values": "<DVC_METRIC_DATA>"}, "title": "<DVC_METRIC_TITLE>"}
    return {"$schema": _SCHEMA, **anchors, **{key: found[key] for key in found if key not in ("$schema", *anchors)}}


def main(folder: Path) -> None:
    """Write a file for each template."""
    for name, template in templates().items():
        (folder / f"{name}.json").write_text(json.dumps(template, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
