"""Forgetting as bars from a zero line: a panel for each language, a bar for each arm."""

from __future__ import annotations

import altair as alt

from palimpsest.evaluate.results.eval_all import EvalAll
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import Chart, Row, Styles

_WIDTH, _ROW, _NUMBER = 176, 24, 46  # pixels, the last of the number beside a bar
_COLUMNS = ("language", "arm", "forgetting", "sd", "seeds")


def bars(base: alt.Chart, colour: alt.Color) -> alt.Chart:
    """The bars as both the page and ``dvc plots`` draw them."""
    x = alt.X("forgetting:Q").title("nats per token")
    return base.mark_bar().encode(x=x, y=alt.Y("arm:N", sort=None).title(None), color=colour)


def draw(results: EvalAll, styles: Styles) -> Chart | None:
    """A panel for each earlier language, and one for their mean where there are several; None where there is none."""
    arms = {name: arm for name, arm in results.arms.items() if arm.forgetting}
    table = [
        _row(formatting.language(language), name, arm.forgetting[language])
        for language in results.forgettable
        for name, arm in arms.items()
        if language in arm.forgetting
    ]
    if len(results.forgettable) > 1:
        means = {name: arm.mean_forgetting or 0.0 for name, arm in arms.items()}
        table += [
            _row("Mean of these languages", name, SeedMean(mean=mean, sd=None, n=1)) for name, mean in means.items()
        ]
    if not table:
        return None
    panels = list(dict.fromkeys(row["language"] for row in table))
    return Chart(
        name="forgetting",
        description="; ".join(f"{row['language']}: {row['arm']} {row['label']}" for row in table),
        spec=chart.spec(chart.facets(_layers(table, styles), "language", panels, _WIDTH, len(arms) * _ROW)),
        table=table,
        columns=_COLUMNS,
        width=_WIDTH,
        axis=84,
    )


def _row(language: str, arm: str, value: SeedMean) -> Row:
    low, high = value.mean - (value.sd or 0), value.mean + (value.sd or 0)
    return {
        "language": language, "arm": arm, "forgetting": value.mean, "sd": value.sd, "seeds": value.n,
        "low": low, "high": high, "edge": min(low, 0) if value.mean < 0 else max(high, 0),
        "label": formatting.signed(value.mean),
    }  # fmt: skip


def _layers(table: list[Row], styles: Styles) -> list[alt.Chart]:
    low, high = min([0.0, *(row["edge"] for row in table)]), max([0.0, *(row["edge"] for row in table)])
    pad = _NUMBER * ((high - low) or 1) / (_WIDTH - _NUMBER * (1 + (low < 0)))
    bar = bars(chart.shown(), chart.colour(styles)).encode(tooltip=chart.told(table, _COLUMNS))
    bar.encoding.x.scale = alt.Scale(domain=[low - pad if low < 0 else 0, high + pad], nice=False)
    bar.encoding.x.axis = alt.Axis(tickCount=4)
    bar.encoding.y.axis = alt.Axis(labelLimit=80, labelColor=chart.TEXT)
    y = alt.Y("arm:N", sort=None)
    whisker = chart.shown().transform_filter("isValid(datum.sd)").mark_rule(strokeWidth=1.2)
    number = chart.shown().encode(x="edge:Q", y=y, text="label:N")
    return [
        bar,
        whisker.encode(x="low:Q", x2="high:Q", y=y),
        number.transform_filter("datum.forgetting >= 0").mark_text(align="left", dx=5),
        number.transform_filter("datum.forgetting < 0").mark_text(align="right", dx=-5),
        chart.zero_line("x"),
    ]
