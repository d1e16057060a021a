"""Loss against size: every run of the sweep over the FLOPs of one training token, the fitted laws and their bands."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from palimpsest.evaluate.results.scaling_results import MEASURES, Measure, ScalingResults
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import DATA, SOFT, Chart, Domain, Row, Styles
from palimpsest.report.scaling_table import setting_name

_WIDTH, _HEIGHT = 330, 272
_TITLES = {"retained_loss": "Retained loss (stability)", "learned_loss": "Learned loss (plasticity)"}
_COLUMNS = ("measure", "kind", "name", "arm", "rate", "seed", "parameters", "flops_per_token", "flops", "loss")


def draw(scaling: ScalingResults, styles: Styles) -> Chart | None:
    """A panel for each measure, whose loss axes differ; None where the sweep has no runs."""
    tables = {name: _table(scaling, name) for name in MEASURES}
    tables = {name: table for name, table in tables.items() if any(row["kind"] == "run" for row in table)}
    if not tables:
        return None
    arms = {arm: styles[arm] for arm in scaling.arms}
    flops = [row["x"] for table in tables.values() for row in table]
    panels = [_panel(name, table, arms, (min(flops) / 1.08, max(flops) * 1.08)) for name, table in tables.items()]
    return Chart(
        name="scaling-laws",
        description=f"Loss over FLOPs per token, for {formatting.listing(scaling.arms)}",
        spec=chart.spec(alt.concat(*panels, data=DATA, columns=2)),
        table=[row for table in tables.values() for row in table],
        columns=[*_COLUMNS, "low", "high"],
        width=_WIDTH,
        beside=180,
    )


def _table(scaling: ScalingResults, measure: Measure) -> list[Row]:
    """Runs, then the points of the fitted laws; a wide band may run out of the panel, and is cut there."""
    rows: list[Row] = []
    for point in scaling.points:
        if (loss := point.loss(measure)) is not None:
            rows.append({
                "measure": measure, "kind": "run", "name": setting_name(scaling, point), "arm": point.arm,
                "rate": point.rate, "seed": point.seed, "parameters": point.parameters, "flops": point.flops,
                "flops_per_token": point.flops_per_token, "x": point.flops_per_token, "loss": loss, "y": loss,
            })  # fmt: skip
    for fit in scaling.fits:
        for place in fit.curve if fit.measure == measure else ():
            rows.append({
                "measure": measure, "kind": "law", "name": setting_name(scaling, fit), "arm": fit.arm, "rate": fit.rate,
                "flops_per_token": round(place.flops_per_token), "x": place.flops_per_token, "loss": place.loss,
                "y": place.loss, "low": place.low, "high": place.high, "tells": fit.tells,
            })  # fmt: skip
    return rows


def _panel(measure: Measure, table: list[Row], arms: Styles, across: Domain) -> alt.LayerChart:
    up = chart.padded([row["loss"] for row in table], 0.08)
    _name_ends(table, up)
    colour, shape = chart.colour(arms), chart.shape(arms)
    x = alt.X("x:Q", scale=chart.scale(across, log=True)).title("training FLOPs per token")
    y = alt.Y("y:Q", scale=chart.scale(up)).title("nats per token").axis(tickCount=5, format="~g")
    here = chart.shown().transform_filter(f"datum.measure == '{measure}'")
    here = here.encode(x=x.axis(grid=False, tickCount=4, format="~s"), y=y, color=colour)
    law, run = here.transform_filter("datum.kind == 'law'"), here.transform_filter("datum.kind == 'run'")
    dotted = alt.condition("datum.tells", alt.value([1, 0]), alt.value([1.5, 3.5]))
    ring = chart.zoomable(run.mark_point(size=54, strokeWidth=1.3, opacity=1), "x", "y", name=f"zoom_{measure}")
    layers = [
        law.mark_area(clip=True, opacity=0.16).encode(
            y=alt.Y("low:Q", title="nats per token"), y2="high:Q", detail="name:N"
        ),
        law.mark_line(clip=True, strokeWidth=1.8).encode(detail="name:N", strokeDash=dotted),
        ring.encode(shape=shape, tooltip=chart.told([row for row in table if row["kind"] == "run"], _COLUMNS)),
        run.mark_point(size=54, filled=True).encode(shape=shape, opacity=_fill(table)),
        *(layer.transform_filter(f"datum.measure == '{measure}'") for layer in chart.names_beside(arms)),
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=_TITLES[measure])


def _fill(table: Sequence[Row]) -> alt.Opacity:
    """From all but hollow at the lowest replay rate to full at the highest; full where there is one."""
    rates = sorted({row["rate"] for row in table if row["kind"] == "run"})
    fills = [0.1 + 0.9 * at / (len(rates) - 1) for at in range(len(rates))] if len(rates) > 1 else [1]
    legend = alt.Legend(symbolType="circle", symbolFillColor=SOFT, labelExpr="format(datum.value, '.3~%')")
    scale = alt.Scale(domain=rates, range=fills)
    return alt.Opacity("rate:O", title="filled by replay rate", scale=scale, legend=legend if len(rates) > 1 else None)


def _name_ends(table: Sequence[Row], up: Domain) -> None:
    """Name each setting at the end of its curve; one without a curve only where it has a run of the largest size."""
    largest = max(row["x"] for row in table if row["kind"] == "run")
    ends = {row["name"]: row for row in table if row["kind"] == "run" and row["x"] == largest}
    ends |= {row["name"]: row for row in table if row["kind"] == "law"}
    names = [formatting.shorten(name, 21) for name in ends]
    chart.add_names(list(ends.values()), names, up, _HEIGHT)
