"""The loss matrix of each arm as a heat map: a row after each stage, a column for each language.

Like ink on a page: the lower the loss, the darker the cell. One logarithmic scale serves all arms, since losses before
any training are several times those after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt

from palimpsest.evaluate.results.eval_all import REFERENCE_ARM, EvalAll
from palimpsest.evaluate.results.seed_mean import SeedMean
from palimpsest.report import formatting
from palimpsest.report.charts import chart
from palimpsest.report.charts.chart import DATA, SHOWN, Chart, Row

_COLUMNS = ("arm", "stage", "language", "loss", "sd", "seeds", "ci95_low", "ci95_high")
NATS, BITS = "nats per token", "bits per byte"
_CELL_WIDTH, _CELL_HEIGHT = 54, 34

Place = tuple[str, str, str]
"""Arm, stage and language."""


def cells(base: alt.Chart, y: alt.Y) -> alt.Chart:
    """The cells as both the page and ``dvc plots`` place them."""
    return base.encode(x=alt.X("language:N", sort=None).title(None), y=y.title(None))


def numbers(cells: alt.Chart) -> alt.Chart:
    """The number in each cell."""
    return cells.mark_text(fontSize=13).encode(text=alt.Text("loss:Q", format=".2f"))


def ink(losses: Mapping[Place, SeedMean]) -> dict[Place, float]:
    """From 0 for the highest loss of all arms to 1 for the lowest."""
    means = [loss.mean for loss in losses.values()]
    write = math.log if min(means, default=0) > 0 else float
    low, high = write(min(means, default=1)), write(max(means, default=1))
    return {place: (high - write(loss.mean)) / (high - low) if high > low else 0.5 for place, loss in losses.items()}


def all_losses(results: EvalAll, unit: str = NATS) -> dict[Place, SeedMean]:
    """Every cell of every arm."""
    return {
        (name, stage, language): loss
        for name, arm in results.arms.items()
        for stage, row in (arm.loss if unit == NATS else arm.bits_per_byte).items()
        for language, loss in row.items()
    }


def text_on(ink: float) -> str:
    """The colour that can be read: between the two bounds black is the better one, on light pages and on dark ones."""
    return "var(--on-pale)" if ink < 0.5 else "var(--on-ink)" if ink > 0.55 else "#000000"


def draw(unit: str, results: EvalAll) -> Chart:
    """``unit``: nats per token, or bits per byte, which can be compared between tokenisers."""
    losses = all_losses(results, unit)
    inks = ink(losses)
    table = [_row(unit, results, place, loss, inks[place]) for place, loss in losses.items()]
    width = len(results.languages) * _CELL_WIDTH
    panels = chart.facets(_layers(unit, table), "arm", list(results.arms), width, alt.Step(_CELL_HEIGHT))
    return Chart(
        name=f"loss-matrix-{unit.replace(' ', '-')}",
        description=f"Loss matrix of {formatting.listing(list(results.arms))} in {unit}",
        spec=chart.spec(panels.transform_filter(SHOWN)),
        table=table,
        columns=_COLUMNS,
        width=width,
        beside=62,
    )


def _layers(unit: str, table: Sequence[Row]) -> list[alt.Chart]:
    low, high = min(row["loss"] for row in table), max(row["loss"] for row in table)
    scale = alt.Scale(type="log" if low > 0 else "linear", domain=[low, high], range=[1, 0.02], nice=False)
    steps = [low * (high / low) ** (i / 4) if low > 0 else low + (high - low) * i / 4 for i in range(5)]
    legend = alt.Legend(symbolType="square", symbolSize=260, symbolFillColor="var(--ink-1)", symbolStrokeWidth=0)
    legend.values, legend.format = sorted({float(f"{step:.2g}") for step in steps}), "~g"
    y = alt.Y("row:O", axis=None)
    base = cells(alt.Chart(DATA), y).encode(tooltip=chart.told(table, _COLUMNS))
    base.encoding.x.axis = alt.Axis(orient="top", labelAngle=0, labelLimit=_CELL_WIDTH)
    box = base.mark_rect(width=alt.RelativeBandSize(0.965), height=alt.RelativeBandSize(0.94), strokeWidth=2)
    after = alt.Chart(DATA).transform_filter("isValid(datum.after)").encode(x=alt.value(-6), y=y, text="after:N")
    return [
        box.encode(fill=alt.value("var(--ink-0)")),
        box.encode(
            fill=alt.value("var(--ink-1)"), opacity=alt.Opacity("loss:Q", title=unit, scale=scale, legend=legend)
        ),
        box.encode(
            fill=alt.condition("datum.reached == 'later'", alt.value("url(#hatch)"), alt.value("transparent")),
            stroke=alt.condition("datum.reached == 'now'", alt.value("var(--accent)"), alt.value("transparent")),
        ),
        after.mark_text(align="right", color=chart.SOFT, limit=70),
        numbers(base).encode(color=alt.Color("text:N", scale=None)),
    ]


def _row(unit: str, results: EvalAll, place: Place, loss: SeedMean, ink: float) -> Row:
    arm, stage, language = place
    low, high = (results.document_interval(arm, stage, language) if unit == NATS else None) or (None, None)
    first = language == next(iter(results.arms[arm].loss[stage]))
    after = "untrained" if stage == "init" else f"after {stage}"
    return {
        "arm": arm, "stage": stage, "language": language, "loss": loss.mean, "sd": loss.sd, "seeds": loss.n,
        "ci95_low": low, "ci95_high": high, "row": results.arms[arm].stages.index(stage),
        "after": after if first else None, "text": text_on(ink),
        "reached": _reached(stage, language, results.languages),
    }  # fmt: skip


def _reached(stage: str, language: str, languages: Sequence[str]) -> str:
    """Whether training has met the language by the end of the stage: "later", "now" or "before"."""
    if stage == REFERENCE_ARM:  # every language at once
        return "now"
    here = -1 if stage == "init" else languages.index(stage)
    there = languages.index(language)
    return "later" if there > here else "now" if there == here else "before"
