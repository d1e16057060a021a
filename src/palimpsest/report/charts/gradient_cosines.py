"""The cosine of the gradients of new and of replayed text over training: a panel for a group of layers, a line an arm.

Above zero a step that learns the new text helps the replayed one too; below zero it works against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from palimpsest.evaluate.results.eval_all import EvalAll
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import DATA, FAINT, SOFT, Chart, Domain, Row, Styles
from palimpsest.report.training_curves import ALL_WEIGHTS, Line

_MAX_WINDOWS = 36  # drawn of an arm: as many as can be told apart; means are over all of them
_COLUMNS = ("arm", "group", "stage", "kind", "step", "tokens", "cosine", "low", "high", "after")


def draw(groups: Sequence[str], lines: Sequence[Line], results: EvalAll, styles: Styles) -> Chart:
    """The panels of some groups of layers on one pair of scales; windows are drawn in a panel that stands alone."""
    alone = len(groups) == 1
    width, height = (520, 224) if alone else (206, 146)
    lines = [line for line in lines if line.series in groups and line.points]
    stages = _stages(lines, results)
    steps = [point.step for line in lines for point in line.points]
    across = float(min([*steps, *stages])), float(max([*steps, *(end for end, _ in stages.values())]))
    up = _domain(lines)
    table: list[Row] = []
    for group in groups:
        table += [{"panel": _title(group), "kind": "stage", "x": at, "stage": name} for at, (_, name) in stages.items()]
        found = [_rows(line) for line in lines if line.series == group]
        chart.add_cursor(found, across, _tip)
        chart.add_names([r[-1] for r in found], [formatting.shorten(r[-1]["arm"], 11) for r in found], up, height)
        table += [row for rows in found for row in rows]
        table += [row for line in lines if line.series == group and alone for row in _windows(line)]
    panels = chart.facets(_layers(styles, across, up, table), "panel", list(map(_title, groups)), width, height)
    return Chart(
        name="gradient-cosines" if alone else "gradient-cosines-by-layers",
        description=f"Cosine of the gradients of new and replayed text: {formatting.listing(list(groups))}",
        spec=chart.spec(panels),
        table=table,
        columns=_COLUMNS,
        width=width,
        beside=76,
        axis=40,
    )


def _title(group: str) -> str:
    return "All weights together" if group == ALL_WEIGHTS else group[:1].upper() + group[1:]


def _domain(lines: Sequence[Line]) -> Domain:
    """One vertical axis for all panels; zero is always on it."""
    values = [bound for line in lines for point in line.points for bound in (point.low, point.high)]
    values += [value for line in lines for window in line.windows for value in (window.before, window.after)]
    return chart.padded([0.0, *values])


def _stages(lines: Sequence[Line], results: EvalAll) -> dict[int, tuple[int, str]]:
    """Step at which a stage that replays begins → its last step and name; arms that replay alike share them."""
    return {
        start: (end, stage)
        for arm in sorted({line.arm for line in lines})
        for stage, (start, end) in results.step_ranges(arm).items()
        if results.replay_rates(arm)[stage]
    }


def _rows(line: Line) -> list[Row]:
    """A row a point; ``single`` where it is the only one of its stage, which no line can show."""
    stages = [point.stage for point in line.points]
    return [
        {"panel": _title(line.series), "arm": line.arm, "group": line.series, "kind": "step", "stage": point.stage}
        | {"step": point.step, "x": point.step, "tokens": point.tokens, "cosine": point.mean, "y": point.mean}
        | ({"low": point.low, "high": point.high} if point.seeds > 1 else {})
        | {"single": stages.count(point.stage) == 1}
        for point in line.points
    ]


def _windows(line: Line) -> list[Row]:
    """The cosine before the interpolation and ``after`` it, evenly chosen."""
    common = {"panel": _title(line.series), "arm": line.arm, "group": line.series, "kind": "window"}
    return [
        common | {"stage": w.stage, "step": w.step, "x": w.step, "cosine": w.before, "y": w.before, "after": w.after}
        for w in line.windows[:: max(-(-len(line.windows) // _MAX_WINDOWS), 1)]
    ]


def _tip(row: Row) -> str:
    return f"{chart.measured(row, 'cosine')}  {row['arm']}: {row['stage']}, step {row['step']}"


def _layers(styles: Styles, across: Domain, up: Domain, table: Sequence[Row]) -> list[alt.Chart]:
    x = alt.X("x:Q", scale=chart.scale(across)).axis(grid=False, tickCount=5).title("optimiser steps")
    y = alt.Y("y:Q", scale=chart.scale(up)).axis(tickCount=5).title(None)
    base = chart.shown().encode(x=x, y=y, color=chart.colour(styles))
    step = base.transform_filter("datum.kind == 'step'")
    line = chart.zoomable(step, "x").mark_line(strokeWidth=1.8)
    windows = [row for row in table if row["kind"] == "window"]
    window = base.transform_filter("datum.kind == 'window'").encode(tooltip=chart.told(windows, _COLUMNS))
    begin = alt.Chart(DATA).transform_filter("datum.kind == 'stage'").encode(x="x:Q")
    stage = begin.mark_text(clip=False, align="left", dx=3, dy=-6, color=SOFT)
    after = alt.Y("after:Q")
    return [
        begin.mark_rule(color=FAINT, strokeWidth=0.7, opacity=0.7),
        stage.encode(y=alt.value(0), text="stage:N"),
        chart.zero_line("y"),
        chart.ribbon(styles).encode(detail="stage:N"),
        line.properties(name="lines").encode(strokeDash=chart.dash(styles), detail="stage:N"),
        step.transform_filter("datum.single").mark_point(filled=True, size=28, opacity=1),
        chart.cursor("panel"),
        window.mark_rule().encode(y2="after:Q"),
        window.mark_point(fill="var(--paper)", size=26, opacity=1).encode(shape=chart.shape(styles)),
        window.mark_point(filled=True, size=26, opacity=1).encode(y=after, shape=chart.shape(styles)),
        *chart.names_beside(styles),
    ]
