"""Loss over training: a panel for each language, a line for each arm.

Panels are by language, not by arm, because the question is a comparison of arms: how far apart do they end on a
language that training has left? Lines in one panel answer that at a glance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import altair as alt

from palimpsest.evaluate.results.eval_all import REFERENCE_ARM, EvalAll
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import DATA, FAINT, SOFT, TEXT, Chart, Domain, Row, Styles
from palimpsest.report.training_curves import Line

Axis = Literal["stages", "tokens"]
"""Every stage of the same width, or training tokens, replayed ones included."""

_WIDTH, _HEIGHT = 222, 176
_LOG_FROM = 2.5  # largest loss over smallest from which a linear axis would press the trained end flat


def loss_lines(base: alt.Chart, x: alt.X, y: alt.Y, colour: alt.Color) -> alt.Chart:
    """The lines as both the page and ``dvc plots`` draw them."""
    return base.mark_line(strokeWidth=1.8).encode(x=x, y=y.title("nats per token"), color=colour)


def draw(axis: Axis, lines: Sequence[Line], results: EvalAll, styles: Styles) -> Chart:
    """The panels of all languages on one pair of scales."""
    lines = sorted(lines, key=lambda line: line.arm != REFERENCE_ARM)  # drawn first is drawn below
    tokens = max(float(point.tokens) for line in lines for point in line.points)
    across = 0.0, float(len(results.languages)) if axis == "stages" else tokens
    up, log = _loss_domain(lines), is_logarithmic(lines)
    table: list[Row] = []
    for language in results.languages:
        found = [_rows(axis, line, results) for line in lines if line.series == language]
        chart.add_cursor(found, across, _tip)
        names = [formatting.shorten(rows[-1]["arm"], 11) for rows in found]
        chart.add_names([rows[-1] for rows in found], names, up, _HEIGHT, log=log)
        staged = [rows for rows in found if rows[0]["arm"] != REFERENCE_ARM]
        table += [*_stage_rows(axis, staged or found, across[1]), *(row for rows in found for row in rows)]
    titles = [formatting.language_title(language) for language in results.languages]
    x = alt.X("x:Q", scale=chart.scale(across), axis=_AXES[axis]).title(_TITLES[axis])
    y = alt.Y("y:Q", scale=chart.scale(up, log=log)).axis(tickCount=4, format="~g")
    dot = chart.shown().transform_filter("datum.is_end").mark_point(filled=True, size=20, opacity=1)
    line = chart.zoomable(chart.shown("lines"), "x")
    layers = [
        *_stage_layers(axis, styles),
        chart.ribbon(styles),
        loss_lines(line, x, y, chart.colour(styles)).encode(strokeDash=chart.dash(styles)),
        dot.encode(x="x:Q", y="y:Q", color=chart.colour(styles)),
        chart.cursor("panel"),
        *chart.names_beside(styles),
    ]
    return Chart(
        name=f"loss-by-{axis}",
        description=f"Validation loss over training, by {axis}, on {formatting.listing(titles)}",
        spec=chart.spec(chart.facets(layers, "panel", titles, _WIDTH, _HEIGHT)),
        table=table,
        columns=["arm", "language", "stage", "step", "tokens", "loss", "low", "high"],
        width=_WIDTH,
        beside=72,
        axis=46,
    )


def is_logarithmic(lines: Sequence[Line]) -> bool:
    low, high = _range(lines)
    return low > 0 and high / low >= _LOG_FROM


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    losses = [loss for line in lines for point in line.points for loss in (point.low, point.high)]
    return min(losses), max(losses)


def _loss_domain(lines: Sequence[Line]) -> Domain:
    low, high = _range(lines)
    return (low / 1.08, high * 1.08) if is_logarithmic(lines) else chart.padded((low, high))


_TITLES = {"stages": "stage of training", "tokens": "training tokens, replayed ones included"}
_AXES = {
    "stages": alt.Axis(labels=False, grid=False, titlePadding=24),
    "tokens": alt.Axis(grid=False, tickCount=4, labelExpr=chart.TOKENS),
}


def _rows(axis: Axis, line: Line, results: EvalAll) -> list[Row]:
    """A row a point. ``start`` and ``end`` are those of its stage on the axis; joint's one is as wide as all."""
    ends, rates = line.stage_ends, results.replay_rates(line.arm)
    before = dict(zip((end.stage for end in ends), [None, *ends], strict=False))
    last = {end.stage: (index, end) for index, end in enumerate(ends)}
    wide = len(results.languages) if line.arm == REFERENCE_ARM else 1
    rows: list[Row] = []
    for point in line.points:
        (index, end), start = last[point.stage], before[point.stage]
        first_step, first_token = (start.step, start.tokens) if start else (0, 0)
        share = (point.step - first_step) / max(end.step - first_step, 1)
        by_stage = {"x": (index + share) * wide, "start": index * wide, "end": (index + 1) * wide}
        by_token = {"x": point.tokens, "start": first_token, "end": end.tokens}
        rows.append(
            {"panel": formatting.language_title(line.series), "arm": line.arm, "language": line.series}
            | {"stage": point.stage, "step": point.step, "tokens": point.tokens, "loss": point.mean, "y": point.mean}
            | ({"low": point.low, "high": point.high} if point.seeds > 1 else {})
            | {"is_end": point is end, "rate": float(rates.get(point.stage, 0))}
            | (by_stage if axis == "stages" else by_token)
        )
    return rows


def _tip(row: Row) -> str:
    place = f"{row['stage']}, step {row['step']}, {formatting.compact(row['tokens'])} tokens"
    return f"{chart.measured(row, 'loss')}  {row['arm']}: {place}"


def _stage_rows(axis: Axis, lines: Sequence[list[Row]], right: float) -> list[Row]:
    """A row for each stage of a panel, which arms share that begin and end it at one place.

    ``begin`` is its name if there is room for it, ``alone`` the arm where only one begins a stage there.
    """
    found: dict[tuple[float, float, str], list[Row]] = {}
    for rows in lines:
        for row in {row["stage"]: row for row in rows}.values():
            found.setdefault((row["start"], row["end"], row["stage"]), []).append(row)
    starts = Counter(start for (start, _, _), rows in found.items() for _ in rows)
    stages, free = [], 1.0
    for (start, end, stage), rows in sorted(found.items(), key=lambda item: item[0]):
        place, room = start / right * _WIDTH, (end - start) / right * _WIDTH
        name = formatting.shorten(stage, 5 if axis == "tokens" else max(2, int(room / 7)))
        fits = axis == "stages" or place - 3.5 * len(name) >= free
        free = place + 3.5 * len(name) + 2 if fits else free
        stages.append(
            {"panel": rows[0]["panel"], "start": start, "end": end, "middle": (start + end) / 2}
            | {"begin": name if fits else "", "own": stage == rows[0]["language"]}
            | {"replays": any(row["rate"] for row in rows), "alone": rows[0]["arm"] if starts[start] == 1 else None}
        )
    return stages


def _stage_layers(axis: Axis, styles: Styles) -> list[alt.Chart]:
    """Tint, hatch and boundaries of the stages. They stay when an arm is switched off."""
    stages = alt.Chart(DATA).transform_filter("isValid(datum.begin)")
    begins = stages.transform_filter("datum.start > 0")
    hatch = stages.transform_filter("datum.replays").mark_rect(fill="url(#hatch)", opacity=0.6)
    hatch = hatch.encode(x="start:Q", x2="end:Q")
    if axis == "tokens":
        arm = alt.Color("alone:N", legend=None, scale=chart.colours(styles))
        colour = alt.condition("isValid(datum.alone)", arm, alt.value(SOFT))
        begin = begins.mark_rule(strokeDash=[2, 2], strokeWidth=0.8, opacity=0.7).encode(x="start:Q", color=colour)
        name = begins.mark_text(clip=False, dy=-6, fontSize=11).encode(
            x="start:Q", y=alt.value(0), text="begin:N", color=colour
        )
        return [hatch, begin, name]
    tint = stages.transform_filter("datum.own").mark_rect(color="var(--band)").encode(x="start:Q", x2="end:Q")
    begin = begins.mark_rule(color=FAINT, strokeWidth=0.7, opacity=0.7).encode(x="start:Q")
    name = stages.mark_text(clip=False, dy=14).encode(
        x="middle:Q", y=alt.value("height"), text="begin:N",
        color=alt.condition("datum.own", alt.value(TEXT), alt.value(SOFT)),
    )  # fmt: skip
    return [tint, hatch, begin, name]
