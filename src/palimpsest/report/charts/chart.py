"""What all charts share: a Vega-Lite spec with its table of data, and the layers that more than one chart draws.

Specs are built with Altair and drawn by Vega in the reader's browser. Colours are CSS variables and hatches are SVG
patterns of the page: the SVG renderer writes both into the drawing as they are, so that dark mode needs no other spec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import numpy as np
from scipy.optimize import isotonic_regression

from palimpsest.report import formatting
from palimpsest.report.palette import Style

Row = dict[str, Any]
Styles = Mapping[str, Style]
Domain = tuple[float, float]

DATA = alt.NamedData("table")
SHOWN = "indexof(hidden, datum.arm) < 0"  # arms that the reader has not switched off
TEXT, SOFT, FAINT = "var(--text)", "var(--soft)", "var(--faint)"
TOKENS = "replace(format(datum.value, '~s'), 'G', 'B')"  # as the field writes tokens
_LINE_HEIGHT = 13  # of a label, in pixels
_MAX_PLACES = 48  # of the cursor in a panel
_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, Noto Sans, Noto Sans Arabic, Noto Sans JP, sans-serif"

# Vega's configuration of every chart of the page: the page's own restraint.
CONFIG: dict[str, Any] = {
    "font": _FONT,
    "background": None,
    "view": {"stroke": None},
    "mark": {"invalid": None},
    "axis": {
        "labelColor": SOFT, "labelFontSize": 11.5, "titleColor": FAINT, "titleFontSize": 11.5,
        "titleFontWeight": "normal", "gridColor": "var(--grid)", "domain": False, "ticks": False, "labelPadding": 6,
    },
    "header": {
        "title": None, "labelAnchor": "start", "labelColor": TEXT, "labelFontSize": 13, "labelFontWeight": 600,
        "labelPadding": 8,
    },
    "title": {"anchor": "start", "color": TEXT, "fontSize": 13, "fontWeight": 600, "offset": 12},
    "legend": {
        "orient": "bottom", "direction": "horizontal", "labelColor": SOFT, "labelFontSize": 11.5, "titleColor": SOFT,
        "titleFontSize": 11.5, "titleFontWeight": "normal", "titleOrient": "left", "titleAnchor": "middle",
    },
    "text": {"fontSize": 11.5, "color": TEXT},
    "rule": {"color": TEXT},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of the page.

    ``name``: of the files that a reader saves. ``columns``: those of the table that the files hold and that are told
    where the pointer is, in order; the others only serve the drawing. The page fits as many panels into a row as it has
    room for: ``width`` is that of a panel's plot, which shrinks on a small screen, ``beside`` what each panel needs
    next to it, ``axis`` what a row needs.
    """

    name: str
    description: str
    spec: dict[str, Any]
    table: Sequence[Row]
    columns: Sequence[str]
    width: int
    beside: int = 0
    axis: int = 0

    def payload(self) -> dict[str, Any]:
        """What the page's script needs; the table without its repeated keys."""
        columns = list(dict.fromkeys(key for row in self.table for key in row))
        rows = [[_rounded(row.get(column)) for column in columns] for row in self.table]
        layout = {"width": self.width, "beside": self.beside, "axis": self.axis}
        return {"spec": self.spec, "columns": columns, "rows": rows, "csv": self.columns, **layout}


def _rounded(value: Any) -> Any:
    """Floats with the digits that can be seen or are worth saving."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def told(table: Sequence[Row], columns: Sequence[str]) -> list[alt.Tooltip]:
    """The columns that the table has any values in, for hovering."""
    tips = []
    for column in columns:
        values = [value for row in table if (value := row.get(column)) is not None]
        title = column.replace("_", " ")
        if any(isinstance(value, str) for value in values):
            tips.append(alt.Tooltip(f"{column}:N", title=title))
        elif values:
            digits = ".3f" if any(isinstance(value, float) for value in values) else ".3s" if max(values) > 1e6 else ","
            tips.append(alt.Tooltip(f"{column}:Q", title=title, format=digits))
    return tips


def shown(name: str | None = None) -> alt.Chart:
    """A chart of the arms that are not switched off."""
    return alt.Chart(DATA, name=name or alt.Undefined).transform_filter(SHOWN)


def colours(styles: Styles) -> alt.Scale:
    return alt.Scale(domain=list(styles), range=[style.colour for style in styles.values()])


def colour(styles: Styles) -> alt.Color:
    return alt.Color("arm:N", legend=None, scale=colours(styles))


def dash(styles: Styles) -> alt.StrokeDash:
    return alt.StrokeDash("arm:N", legend=None).scale(domain=list(styles), range=[s.dash for s in styles.values()])


def shape(styles: Styles, legend: alt.Legend | None = None) -> alt.Shape:
    return alt.Shape("arm:N", legend=legend).scale(domain=list(styles), range=[s.shape for s in styles.values()])


def scale(domain: Domain, *, log: bool = False) -> alt.Scale:
    """From edge to edge of the domain, without a zero that is not in it."""
    return alt.Scale(type="log", domain=domain, nice=False) if log else alt.Scale(domain=domain, nice=False, zero=False)


def spec(chart: alt.Chart | alt.LayerChart | alt.FacetChart | alt.ConcatChart) -> dict[str, Any]:
    """The chart as Vega-Lite, with the parameter ``hidden`` that the page sets to the arms that are switched off."""
    found: dict[str, Any] = chart.add_params(alt.param(name="hidden", value=[])).to_dict()
    del found["config"], found["$schema"]  # the page has one configuration for all, and one version
    return found


def facets(
    layers: Sequence[alt.Chart], by: str, order: Sequence[str], width: int, height: int | alt.Step
) -> alt.FacetChart:
    """A panel for each value of the column ``by``, in this order."""
    panel = alt.layer(*layers).properties(width=width, height=height)
    faceted = panel.facet(alt.Facet(f"{by}:N", sort=list(order)), data=DATA, columns=len(order))
    faceted.spec.data = alt.Undefined  # a panel's data are its part of the facet's
    return faceted.resolve_axis(x="independent")


def zoomable(chart: alt.Chart, *encodings: Literal["x", "y"], name: str = "zoom") -> alt.Chart:
    """A view that is dragged, and zoomed by the wheel while Ctrl is held, so that a page scrolls as usual."""
    return chart.add_params(
        alt.selection_interval(name=name, bind="scales", encodings=list(encodings), zoom="wheel![event.ctrlKey]")
    )


def cursor(panel: str) -> alt.Chart:
    """A vertical line at the points nearest the pointer, which are told together; see ``add_cursor``."""
    nearest = alt.selection_point(name="cursor", nearest=True, on="pointerover", clear="pointerout", fields=["at"])
    tip = alt.ExprRef("(datum.datum || datum).tip")  # the datum of the region around a line is that line
    return (
        shown("cursor_line")
        .transform_filter("isValid(datum.at)")
        .transform_aggregate(rows="values(tip)", groupby=[panel, "at"])
        .transform_calculate(tip="join(pluck(datum.rows, 'tip'), '\\n')")
        .mark_rule(color=SOFT, strokeWidth=0.8, tooltip=tip)
        .encode(x="at:Q", opacity=alt.condition(nearest, alt.value(1), alt.value(0), empty=False))
        .add_params(nearest)
    )


def add_cursor(lines: Sequence[list[Row]], domain: Domain, tip: Callable[[Row], str]) -> None:
    """Give rows, placed by ``x``, the place ``at`` of the cursor where they are told, and their ``tip``.

    Lines of one panel are measured at different places, so each tells at every place its point nearest to it.
    """
    low, high = domain
    steps = min(max(min(map(len, lines), default=1) - 1, 1), _MAX_PLACES - 1)
    for line in lines:
        nearest: dict[int, tuple[float, Row]] = {}
        for row in line:
            place = (row["x"] - low) / (high - low or 1) * steps
            nearest[round(place)] = min(
                (abs(place - round(place)), row), nearest.get(round(place), (1.0, row)), key=lambda found: found[0]
            )
        for place, (_, row) in nearest.items():
            row |= {"at": low + place * (high - low) / steps, "tip": tip(row)}


def zero_line(axis: Literal["x", "y"]) -> alt.Chart:
    return alt.Chart(DATA).mark_rule(color="var(--strong-rule)", strokeWidth=1.1).encode(**{axis: alt.datum(0)})


def measured(row: Row, value: str) -> str:
    """A row's value, and the range of the seeds where there are several."""
    spread = f" ({formatting.interval(row['low'], row['high'])})" if "low" in row else ""
    return f"{formatting.loss(row[value])}{spread}"


def ribbon(styles: Styles) -> alt.Chart:
    """From the lowest to the highest seed of each line."""
    area = shown().transform_filter("isValid(datum.low)").mark_area(opacity=0.16)
    return area.encode(x="x:Q", y="low:Q", y2="high:Q", color=colour(styles))


def names_beside(styles: Styles) -> list[alt.Chart]:
    """The name of each line to the right of the panel at ``level``, joined to its last point; see ``add_names``."""
    named = shown().transform_filter("isValid(datum.label)")
    lead = named.mark_rule(clip=True, strokeWidth=0.8, opacity=0.55)
    name = named.mark_text(clip=False, align="left", dx=7, fontSize=12, fontWeight=600)
    return [
        lead.encode(x="x:Q", x2=alt.value("width"), y="y:Q", y2="level:Q", color=colour(styles)),
        name.encode(x=alt.value("width"), y="level:Q", text="label:N", color=colour(styles)),
    ]


def add_names(ends: Sequence[Row], names: Sequence[str], domain: Domain, height: int, *, log: bool = False) -> None:
    """Give the last row of each line its name and the value at which names do not touch."""
    scale, inverse = (np.log, np.exp) if log else (np.asarray, np.asarray)
    low, high = scale(domain)
    pixels = (scale([row["y"] for row in ends]) - low) / (high - low) * height
    moved = low + np.array(spaced(pixels, _LINE_HEIGHT, 4, height - 2)) / height * (high - low)
    for row, name, level in zip(ends, names, inverse(moved), strict=True):
        row |= {"label": name, "level": float(level)}


def spaced(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved as little as it takes to lie ``gap`` apart inside [low, high], in the same order."""
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(order))
    free = isotonic_regression(np.asarray(places)[order] - steps).x if len(order) else steps
    moved = np.empty(len(order))
    moved[order] = np.clip(free, low, max(low, high - steps[-1:].sum())) + steps
    return [float(place) for place in moved]


def padded(values: Iterable[float], share: float = 0.06) -> Domain:
    """A domain a little wider than the values."""
    found = list(values)
    pad = (max(found) - min(found)) * share or 0.1
    return min(found) - pad, max(found) + pad
