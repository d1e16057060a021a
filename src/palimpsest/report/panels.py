"""The page's figures, each as the panels and legends that its template places; None or empty where there is nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from palimpsest.report import agreement, figures
from palimpsest.report.alignment import ALL, Line
from palimpsest.report.charts import alignment, dropped, forgetting, heatmap, ledger, plane, scaling
from palimpsest.report.charts import curves as loss_curves
from palimpsest.report.inputs import Inputs
from palimpsest.report.palette import Style
from palimpsest.report.results import Arm, Quantity, Results

_Styles = Mapping[str, Style]


def draw(given: Inputs, styles: _Styles) -> dict[str, Any]:
    """By the names that the templates know them by."""
    found = given.results
    return {
        "heatmaps": _heatmaps(found, styles),
        "curves": _curves(given, styles),
        "forgetting": _forgetting(found, styles),
        "forgetting_width": forgetting.WIDTH,
        "plane": _plane(given, styles),
        "scaling": _scaling(given, styles),
        "alignment": _alignment(given, styles),
        "ledger": ledger.draw(found.arms, styles, {arm.name: found.compute(arm) for arm in found.arms})
        if any(arm.ledger for arm in found.arms)
        else None,
        "dropped": dropped.draw(found.data) if any(entry.get("dropped") for entry in found.data.values()) else None,
    }


def _heatmaps(found: Results, styles: _Styles) -> list[dict[str, Any]]:
    """The same maps in either unit; the intervals are of nats per token."""
    units = {
        ("nats", "nats per token"): [arm.loss for arm in found.arms],
        ("bits", "bits per byte"): [arm.bits_per_byte for arm in found.arms],
    }
    maps = []
    for (key, name), matrices in units.items():
        if not any(matrices):
            continue
        scale = heatmap.colour_scale(matrices)
        intervals = [_intervals(found, arm) if key == "nats" else {} for arm in found.arms]
        panels = [
            {"style": styles[arm.name], "chart": heatmap.draw(arm, matrix, found.languages, scale, name, known)}
            for arm, matrix, known in zip(found.arms, matrices, intervals, strict=True)
            if matrix
        ]
        maps.append(
            {"key": key, "name": name, "width": heatmap.width(found.languages), "legend": heatmap.legend(scale, name)}
            | {"panels": panels}
        )
    return maps


def _intervals(found: Results, arm: Arm) -> dict[tuple[str, str], tuple[float, float]]:
    places = [(stage, language) for stage, row in arm.loss.items() for language in row]
    return {place: interval for place in places if (interval := found.interval(arm, *place))}


def _curves(given: Inputs, styles: _Styles) -> list[dict[str, Any]]:
    found, lines = given.results, given.curves
    if not any(line.points for line in lines):
        return []
    up = loss_curves.loss_scale(lines)
    views = []
    for kind, name in (("stages", "stages side by side"), ("tokens", "by training tokens")):
        across = loss_curves.axis(kind, found.languages, lines, found.arms)
        panels = [loss_curves.draw(language, lines, styles, across, up) for language in found.languages]
        views.append({"key": kind, "name": name, "log": up.log, "width": loss_curves.WIDTH, "panels": panels})
    return views


def _forgetting(found: Results, styles: _Styles) -> list[Markup]:
    """A panel for each earlier language, and one for their mean where there are several."""
    scale = forgetting.scale(found.arms)
    panels = {
        figures.language(language): {
            arm.name: arm.forgetting[language] for arm in found.arms if language in arm.forgetting
        }
        for language in found.earlier
    }
    means = {arm.name: Quantity(mean=mean) for arm in found.arms if (mean := arm.mean_forgetting) is not None}
    if len(panels) > 1:
        panels["Mean of these languages"] = means
    return [forgetting.draw(title, values, styles, scale) for title, values in panels.items()]


def _plane(given: Inputs, styles: _Styles) -> dict[str, Any] | None:
    spots = plane.spots(given.results, given.scaling, styles)
    if not spots:
        return None
    arms = given.results.arms
    reference = next(((styles[arm.name], arm.retained) for arm in arms if arm.is_reference and arm.retained), None)
    return {
        "chart": plane.draw(spots, reference),
        "legend": plane.legend(spots),
        "log": plane.compute_scale(spots).log,
        "styles": _unique([spot.style for spot in spots]),
        "swept": any(spot.small for spot in spots),
        "spread": any(spot.retained.sd for spot in spots),
    }


def _scaling(given: Inputs, styles: _Styles) -> dict[str, Any] | None:
    found = given.scaling
    if not (found and found.points):
        return None
    measures = [name for name in scaling.TITLES if any(point.measure(name) is not None for point in found.points)]
    rates = sorted({point.rate for point in found.points})
    return {
        "width": scaling.WIDTH,
        "panels": [scaling.draw(found, measure, styles) for measure in measures],
        "styles": _unique([styles[arm] for arm in found.arms]),
        "rates": [{"name": figures.rate(rate), "fill": f"{scaling.fill(rate, rates):.2f}"} for rate in rates],
    }


def _alignment(given: Inputs, styles: _Styles) -> dict[str, Any] | None:
    lines, arms = [line for line in given.alignment if line.points], given.results.arms
    groups = list(dict.fromkeys(line.group for line in lines))
    if ALL not in groups:
        return None
    views = [("all", "all weights", alignment.LARGE, [ALL])]
    if layers := [group for group in groups if group != ALL]:
        views.append(("groups", "by group of layers", alignment.SMALL, layers))
    return {
        "views": [
            {"key": key, "name": name, "width": frame.width}
            | {"panels": _aligned(shown, [line for line in lines if line.group in shown], arms, styles, frame)}
            for key, name, frame, shown in views
        ],
        "every": max(line.every for line in lines),
        "styles": _unique([styles[line.arm] for line in lines if line.windows]),
        "said": agreement.said(lines),
        "changes": agreement.changes(lines, styles),
    }


def _aligned(
    groups: list[str], lines: list[Line], arms: list[Arm], styles: _Styles, frame: alignment.Frame
) -> list[Markup]:
    return [alignment.draw(group, lines, arms, styles, frame) for group in groups]


def _unique(found: list[Style]) -> list[Style]:
    return sorted(dict.fromkeys(found), key=lambda style: style.key)
