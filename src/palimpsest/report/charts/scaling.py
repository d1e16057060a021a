"""Loss against size: every run of the sweep over the FLOPs of one training token, the fitted laws and their bands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from palimpsest.report import figures
from palimpsest.report.charts.labels import beside
from palimpsest.report.charts.marks import mark
from palimpsest.report.charts.svg import Scale, chart, element, line, polyline, text
from palimpsest.report.palette import Style
from palimpsest.report.scaling import Fit, Point, Scaling

WIDTH, _HEIGHT = 524.0, 356.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 374.0, 34.0, 306.0
_LABEL = 21  # characters of a name that fit to the right of a panel
TITLES = {"retained_loss": "Retained loss (stability)", "learned_loss": "Learned loss (plasticity)"}


def axis(found: Scaling) -> Scale:
    """FLOPs of one training token, logarithmic, over points and curves."""
    flops = [point.flops_per_token for point in found.points]
    flops += [place.flops_per_token for fit in found.fits for place in fit.curve]
    return Scale(low=min(flops) / 1.08, high=max(flops) * 1.08, start=_LEFT, end=_RIGHT, log=True)


def loss_scale(found: Scaling, measure: str) -> Scale:
    """Over the points and the fitted curves; a wide band may run out of it, and is cut there."""
    losses = [loss for point in found.points if (loss := point.measure(measure)) is not None]
    losses += [place.loss for fit in found.fits if fit.measure == measure for place in fit.curve]
    low, high = min(losses), max(losses)
    pad = (high - low) * 0.08 or 0.1
    return Scale(low=low - pad, high=high + pad, start=_BOTTOM, end=_TOP)


def draw(found: Scaling, measure: str, styles: Mapping[str, Style]) -> Markup:
    """The panel of one measure: marks filled the more, the higher the replay rate."""
    across, up = axis(found), loss_scale(found, measure)
    points = [point for point in found.points if point.measure(measure) is not None]
    fits = [fit for fit in found.fits if fit.measure == measure and fit.curve]
    rates = sorted({point.rate for point in found.points})
    runs = figures.listing(sorted({found.name(point) for point in points}))
    return chart(
        WIDTH,
        _HEIGHT,
        f"{TITLES[measure]} over FLOPs per token, for {runs}",
        _grid(across, up),
        *(_band(fit, styles[fit.arm], across, up) for fit in fits),
        *(_curve(fit, styles[fit.arm], across, up) for fit in fits),
        *(
            _point(found.name(point), point, measure, styles[point.arm], fill(point.rate, rates), across, up)
            for point in points
        ),
        *_labels(found, measure, styles, across, up),
        text(TITLES[measure], _LEFT, 14, class_="panel-title"),
        text("nats per token", _RIGHT, 14, class_="axis end"),
    )


def _grid(across: Scale, up: Scale) -> Markup:
    level = [
        line(_LEFT, up(tick), _RIGHT, up(tick), class_="grid")
        + text(f"{tick:g}", _LEFT - 6, up(tick) + 4, class_="tick end")
        for tick in up.ticks(5)
    ]
    down = [
        line(across(tick), _BOTTOM, across(tick), _BOTTOM + 4, class_="boundary")
        + text(figures.compact(tick), across(tick), _BOTTOM + 17, class_="tick middle")
        for tick in across.ticks(4)
    ]
    title = text("training FLOPs per token", (_LEFT + _RIGHT) / 2, _BOTTOM + 36, class_="axis middle")
    return element("g", *level, *down, title)


def _band(fit: Fit, style: Style, across: Scale, up: Scale) -> Markup:
    above = [(across(place.flops_per_token), up(min(place.high, up.high))) for place in fit.curve]
    below = [(across(place.flops_per_token), up(max(place.low, up.low))) for place in reversed(fit.curve)]
    path = polyline(above + below) + "Z"
    return element("path", d=path, class_="ribbon", style=f"--c:{style.colour}", data_arm=style.key)


def _curve(fit: Fit, style: Style, across: Scale, up: Scale) -> Markup:
    """Dotted where the data cannot tell."""
    places = [(across(place.flops_per_token), up(place.loss)) for place in fit.curve]
    kind = "curve" if fit.tells else "curve untold"
    return element("path", d=polyline(places), class_=kind, style=f"--c:{style.colour}", data_arm=style.key)


def _point(name: str, point: Point, measure: str, style: Style, fill: float, across: Scale, up: Scale) -> Markup:
    loss = point.measure(measure) or 0.0
    accounting = f" ({point.accounting})" if point.accounting else ""
    tip = (
        f"{name}, {figures.compact(point.parameters)} parameters, seed {point.seed}: "
        f"{figures.loss(loss)} nats per token, {figures.scientific(point.flops)} FLOPs in all{accounting}"
    )
    return mark(
        style.shape,
        across(point.flops_per_token),
        up(loss),
        4.2,
        class_="run",
        style=f"--c:{style.colour};--fill:{fill:.2f}",
        data_arm=style.key,
        data_tip=tip,
    )


def fill(rate: float, rates: Sequence[float]) -> float:
    """From hollow at the lowest of the rates, which rise, to full at the highest; full where there is one."""
    return rates.index(rate) / (len(rates) - 1) if len(rates) > 1 else 1.0


def _labels(found: Scaling, measure: str, styles: Mapping[str, Style], across: Scale, up: Scale) -> Iterable[Markup]:
    """Each setting named at the end of its curve; one without a curve only where it has a run of the largest size."""
    largest = max(point.flops_per_token for point in found.points)
    ends: dict[str, tuple[Style, tuple[float, float]]] = {}
    for point in found.points:
        if point.flops_per_token == largest and (loss := point.measure(measure)) is not None:
            ends[found.name(point)] = styles[point.arm], (across(largest), up(loss))
    for fit in found.fits:
        if fit.measure == measure and fit.curve:
            last = fit.curve[-1]
            ends[found.name(fit)] = styles[fit.arm], (across(last.flops_per_token), up(last.loss))
    names = [(figures.shorten(name, _LABEL), style) for name, (style, _) in ends.items()]
    return beside(names, [end for _, end in ends.values()], _RIGHT, _TOP, _BOTTOM)
