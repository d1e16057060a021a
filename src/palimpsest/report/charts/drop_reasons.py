"""What cleaning dropped: a panel for each language, a bar for each reason, as a share of what came in."""

from __future__ import annotations

from collections import Counter

import altair as alt

from palimpsest.evaluate.results.eval_all import EvalAll
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import DATA, Chart, Row

_WIDTH, _ROW, _NUMBER = 110, 24, 52  # pixels, the last of the number beside a bar
_COLUMNS = ("language", "reason", "documents", "share")


def draw(results: EvalAll) -> Chart | None:
    """Reasons are in order of the documents they took, the largest first; None where nothing was dropped."""
    totals: Counter[str] = Counter()
    for summary in results.data.values():
        totals.update(summary.dropped)
    reasons = sorted(totals, key=lambda reason: (-totals[reason], reason))
    table: list[Row] = []
    for language, summary in results.data.items():
        for reason in reasons:
            documents = summary.dropped.get(reason, 0)
            share = documents / max(summary.documents_in, 1)
            label = formatting.percent(share) if documents else formatting.NONE
            row = {"language": formatting.language(language), "reason": reason, "documents": documents}
            table.append(row | {"share": share, "label": label})
    if not table:
        return None
    most = max(row["share"] for row in table) or 1.0
    base = alt.Chart(DATA).encode(
        x=alt.X("share:Q", axis=None).scale(domain=[0, most * _WIDTH / (_WIDTH - _NUMBER)], nice=False),
        y=alt.Y("reason:N", sort=None).title(None).axis(labelLimit=230, labelColor=chart.TEXT),
    )
    layers = [
        base.mark_bar(color=chart.FAINT, height=13).encode(tooltip=chart.told(table, _COLUMNS)),
        base.mark_text(align="left", dx=6).encode(text="label:N"),
        chart.zero_line("x"),
    ]
    panels = [formatting.language(language) for language in results.data]
    return Chart(
        name="dropped-documents",
        description="Documents dropped, by reason and language",
        spec=chart.spec(chart.facets(layers, "language", panels, _WIDTH, len(reasons) * _ROW)),
        table=table,
        columns=_COLUMNS,
        width=_WIDTH,
        axis=236,
    )
