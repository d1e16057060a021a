"""Stability against plasticity: what each arm retains at the end over what it learned on the way, size as compute.

Both axes are losses, so the good corner is below on the left. An arm on the diagonal kept all it had learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from palimpsest.evaluate.results.eval_all import REFERENCE_ARM, EvalAll
from palimpsest.evaluate.results.scaling_results import ScalingResults
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import DATA, FAINT, Chart, Domain, Row, Styles
from palimpsest.report.scaling_table import seed_groups

_WIDTH, _HEIGHT = 570, 408
_LOG_FROM = 4.0  # largest compute over smallest from which sizes count in ratios
_COLUMNS = ("name", "arm", "parameters", "learned", "learned_sd", "retained", "retained_sd", "seeds", "flops")


def draw(results: EvalAll, scaling: ScalingResults | None, styles: Styles) -> Chart | None:
    """The arms that learned one language after another, and the points of the sweep; None where there are none."""
    table = [
        _row(name, name, arm.learned_loss, arm.retained_loss, arm.flops) | {"label": formatting.shorten(name, 24)}
        for name, arm in results.arms.items()
        if arm.learned_loss
    ]
    swept = [
        _row(group.arm, group.name, group.learned, group.retained, round(group.flops), group.parameters)
        for group in (seed_groups(scaling) if scaling else [])
        if group.learned
    ]
    _name_series(swept)
    if not (table := table + swept):
        return None
    joint = results.arms.get(REFERENCE_ARM)
    bounds = {
        loss: [float(row.get(f"{loss}_{end}") or row[loss]) for row in table for end in ("low", "high")]
        for loss in ("learned", "retained")
    }
    across = chart.padded(bounds["learned"], 0.07)
    # Up begins where the diagonal does, so that the distance to it is what was lost since.
    retained = bounds["retained"] + ([joint.retained_loss.mean] if joint else [])
    up = chart.padded([*retained, min(bounds["learned"])], 0.07)
    layers = [*_lines(across, up, joint.retained_loss.mean if joint else None), *_marks(table, styles, across, up)]
    return Chart(
        name="stability-plasticity",
        description=f"Retained over learned loss of {formatting.listing([row['name'] for row in table])}",
        spec=chart.spec(alt.layer(*layers, data=DATA).properties(width=_WIDTH, height=_HEIGHT)),
        table=table,
        columns=_COLUMNS,
        width=_WIDTH,
        axis=70,
    )


def _row(arm: str, name: str, learned: SeedMean, retained: SeedMean, flops: int, parameters: int | None = None) -> Row:
    row: Row = {"arm": arm, "name": name, "parameters": parameters, "flops": flops, "seeds": retained.n}
    for key, loss in (("learned", learned), ("retained", retained)):
        row |= {key: loss.mean, f"{key}_sd": loss.sd}
        row |= {f"{key}_low": loss.mean - loss.sd, f"{key}_high": loss.mean + loss.sd} if loss.sd is not None else {}
    return row | {"swept": parameters is not None}


def _name_series(swept: Sequence[Row]) -> None:
    """Label the largest model of a series of sizes, and join those that differ in size alone."""
    series: dict[str, list[Row]] = {}
    for row in swept:
        series.setdefault(row["name"], []).append(row)
    for rows in series.values():
        sizes = [row["parameters"] for row in rows]
        if len(set(sizes)) > 1:
            rows[sizes.index(max(sizes))]["label"] = formatting.shorten(rows[0]["name"], 24)
        for row in rows:
            row["joined"] = len(set(sizes)) == len(sizes)


def _lines(across: Domain, up: Domain, joint: float | None) -> list[alt.Chart]:
    """The diagonal, and the retained loss of joint, which learns all languages at once."""
    low, high = max(across[0], up[0]), min(across[1], up[1])
    angle = alt.ExprRef(f"-atan2(height * {(across[1] - across[0]) / (up[1] - up[0])}, width) * 180 / PI")
    ends = alt.Chart(alt.InlineData([{"low": low, "high": high}] if low < high else []))
    ends = ends.encode(x="high:Q", y="high:Q")
    diagonal = ends.mark_rule(color=FAINT, strokeDash=[5, 4]).encode(x2="low:Q", y2="low:Q")
    kept = ends.mark_text(align="right", dx=-8, dy=14, angle=angle, color=FAINT, text="all kept: retained = learned")
    if joint is None:
        return [diagonal, kept]
    level = alt.Chart(alt.InlineData([{"arm": REFERENCE_ARM, "retained": joint}])).transform_filter(chart.SHOWN)
    level = level.encode(y="retained:Q", tooltip=[alt.Tooltip("arm:N"), alt.Tooltip("retained:Q", format=".3f")])
    line = level.mark_rule(color="var(--arm-joint)", strokeDash=[1.5, 3], strokeWidth=1.4)
    name = level.mark_text(align="right", dx=-6, dy=-6, color=FAINT, text=f"{REFERENCE_ARM}: retained only")
    return [diagonal, kept, line, name.encode(x=alt.value("width"))]


def _marks(table: Sequence[Row], styles: Styles, across: Domain, up: Domain) -> list[alt.Chart]:
    present = {arm: style for arm, style in styles.items() if any(row["arm"] == arm for row in table)}
    flops = sorted({row["flops"] for row in table})
    log = flops[0] > 0 and flops[-1] / flops[0] >= _LOG_FROM
    axis = alt.Axis(tickCount=6, format="~g", titleColor=chart.TEXT, domain=True, domainColor="var(--strong-rule)")
    x = alt.X("learned:Q", scale=chart.scale(across), axis=axis)
    y = alt.Y("retained:Q", scale=chart.scale(up), axis=axis)
    x = x.title("← learns better \N{EM SPACE}·\N{EM SPACE} learned loss (plasticity), nats per token")
    y = y.title("← keeps better \N{EM SPACE}·\N{EM SPACE} retained loss (stability), nats per token")
    circles = alt.Legend(values=[flops[0], flops[-1]][: len(flops)], format=".3s", symbolType="circle",
                         symbolFillColor="transparent", symbolStrokeColor=chart.TEXT)  # fmt: skip
    sizes = alt.Scale(type="log" if log else "linear", domain=[flops[0], flops[-1]], range=[60, 420])
    size = alt.Size("flops:Q", title="training FLOPs", scale=sizes, legend=circles)
    # Names stand beside the arms; most marks of the sweep have none.
    legend = alt.Legend(title=None, symbolSize=90) if any(row["swept"] for row in table) else None
    stroke = alt.Stroke("arm:N", scale=chart.colours(present), legend=legend)
    fill = alt.Fill("arm:N", scale=chart.colours(present), legend=legend)
    base = chart.shown().encode(x=x, y=y)
    across_bar = base.transform_filter("isValid(datum.learned_low)").mark_rule(strokeWidth=1.2)
    up_bar = base.transform_filter("isValid(datum.retained_low)").mark_rule(strokeWidth=1.2)
    joined = base.transform_filter("datum.joined").mark_line(strokeWidth=0.8, opacity=0.55)
    mark = chart.zoomable(chart.shown("labelled"), "x", "y").mark_point(opacity=1, strokeWidth=1.4)
    pale = alt.condition("datum.swept", alt.value(0.25), alt.value(0.9))
    return [
        joined.encode(stroke=stroke, detail="name:N", order="parameters:Q"),
        across_bar.encode(x="learned_low:Q", x2="learned_high:Q"),
        up_bar.encode(y="retained_low:Q", y2="retained_high:Q"),
        mark.encode(x=x, y=y, stroke=stroke, fill=fill, fillOpacity=pale, size=size)
        .encode(shape=chart.shape(present, legend), tooltip=chart.told(table, _COLUMNS)),
    ]  # fmt: skip
