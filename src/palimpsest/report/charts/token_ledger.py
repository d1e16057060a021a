"""The ledger as stacked bars: what each arm trained on, stage by stage, new tokens full and replayed ones hatched."""

from __future__ import annotations

import altair as alt

from palimpsest.evaluate.results.eval_all import EvalAll
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import DATA, Chart, Row, Styles

_WIDTH, _ROW, _BAR = 440, 36, 20
_COLUMNS = ("arm", "stage", "kind", "tokens")


def draw(results: EvalAll, styles: Styles) -> Chart | None:
    """A bar for each arm; None where no stage has a ledger."""
    table = [row for arm in results.arms for row in _segments(results, arm)]
    if not table:
        return None
    most = max(int(row["end"]) for row in table)
    x = (
        alt.X("start:Q", scale=chart.scale((0, most)))
        .title("training tokens")
        .axis(tickCount=5, labelExpr=chart.TOKENS)
    )
    y = alt.Y("arm:N", sort=None).title(None).axis(labelColor=chart.TEXT, labelLimit=80)
    base = chart.shown().encode(x=x, y=y, tooltip=chart.told(table, _COLUMNS))
    named = f"datum.kind == 'new' && datum.tokens / {most} * width > 9 * length(datum.stage)"
    layers = [
        base.mark_bar(height=_BAR, cornerRadius=1.5, stroke="var(--paper)").encode(
            x2="end:Q", color=chart.colour(styles)
        ),
        base.transform_filter("datum.kind == 'replayed'")
        .mark_bar(height=_BAR, fill="url(#stripes)")
        .encode(x2="end:Q"),
        base.transform_filter(named)
        .mark_text(color="var(--paper)", fontWeight=600)
        .encode(x="middle:Q", text="stage:N"),
        base.transform_filter("isValid(datum.total)").mark_text(align="left", dx=8).encode(x="end:Q", text="total:N"),
    ]
    return Chart(
        name="training-tokens",
        description="Training tokens of each arm, new and replayed",
        spec=chart.spec(alt.layer(*layers, data=DATA).properties(width=_WIDTH, height={"step": _ROW})),
        table=table,
        columns=_COLUMNS,
        width=_WIDTH,
        beside=110,
        axis=84,
    )


def _segments(results: EvalAll, arm: str) -> list[Row]:
    """New, then replayed tokens of every stage; the last segment tells the total and the relative compute."""
    rows: list[Row] = []
    for stage, ledger in results.ledgers(arm).items():
        for kind, tokens in (("new", ledger.new_tokens), ("replayed", ledger.replayed_tokens)):
            if tokens:
                start = rows[-1]["end"] if rows else 0
                rows.append({"arm": arm, "stage": stage, "kind": kind, "tokens": tokens, "start": start}
                            | {"end": start + tokens, "middle": start + tokens / 2})  # fmt: skip
    if rows:
        relative = results.relative_flops(arm)
        cost = f" · {formatting.times(relative)}" if relative else ""
        rows[-1]["total"] = formatting.compact(results.arms[arm].tokens.total) + cost
    return rows
