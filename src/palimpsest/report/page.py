"""results/report.html: the whole comparison as one file that opens without a network."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from palimpsest.artifact import atomic_file
from palimpsest.report import figures, history, palette, results, samples, story, views
from palimpsest.report.charts import curves as loss_curves
from palimpsest.report.charts import dropped, forgetting, heatmap, ledger
from palimpsest.report.history import Line
from palimpsest.report.palette import Style
from palimpsest.report.results import Quantity, Results
from palimpsest.report.samples import Samples

logger = logging.getLogger(__name__)

_TEMPLATES = Path(__file__).parent / "templates"


def build(eval_all: Path, curves: Path, corpora: list[Path], out: Path) -> None:
    """Write the page ``out`` from eval_all.json, loss_curves.csv and the corpus folders; whole or not at all.

    The same inputs give the same bytes. Raises ArtifactError when an input is missing or of another form.
    """
    page = render(results.read(eval_all), history.read(curves), samples.read(corpora)).encode()
    with atomic_file(out) as file:
        file.write(page)
    logger.info("%s: %d bytes", out, len(page))


def render(found: Results, lines: Sequence[Line], shown: Samples) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["language"] = figures.language
    styles = palette.styles([arm.name for arm in found.arms])
    return environment.get_template("page.html").render(
        css=_verbatim("style.css"),
        script=_verbatim("page.js"),
        results=found,
        styles=list(styles.values()),
        story=story.paragraphs(found),
        title=_title(found),
        samples={language: reasons for language, reasons in shown.items() if reasons},
        **_tables(found, styles),
        **_figures(found, lines, styles),
    )


def _verbatim(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _title(found: Results) -> str:
    names = [figures.isolated(figures.language(language)) for language in found.languages]
    return ", then\N{NO-BREAK SPACE}".join(names) or "No languages"


def _tables(found: Results, styles: Mapping[str, Style]) -> dict[str, Any]:
    return {
        "headline": views.headline(found, styles),
        "ink": views.ink(found, styles),
        "ledger_rows": views.ledger(found, styles),
        "data_rows": views.data(found),
        "source_rows": views.sources(found),
        "notes": views.notes(found),
        "lineages": views.lineages(found, styles),
        "params": views.params(found),
    }


def _figures(found: Results, lines: Sequence[Line], styles: Mapping[str, Style]) -> dict[str, Any]:
    return {
        "heatmaps": _heatmaps(found, styles),
        "curves": _curves(found, [line for line in lines if line.arm in styles], styles),
        "forgetting": _forgetting(found, styles),
        "forgetting_width": forgetting.WIDTH,
        "ledger": ledger.draw(found.arms, styles, {arm.name: found.compute(arm) for arm in found.arms})
        if any(arm.ledger for arm in found.arms)
        else None,
        "dropped": dropped.draw(found.data) if any(entry.get("dropped") for entry in found.data.values()) else None,
    }


def _heatmaps(found: Results, styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    """The same maps in either unit."""
    units = {
        ("nats", "nats per token"): [arm.loss for arm in found.arms],
        ("bits", "bits per byte"): [arm.bits_per_byte for arm in found.arms],
    }
    maps = []
    for (key, name), matrices in units.items():
        if not any(matrices):
            continue
        scale = heatmap.colour_scale(matrices)
        panels = [
            {"style": styles[arm.name], "chart": heatmap.draw(arm, matrix, found.languages, scale, name)}
            for arm, matrix in zip(found.arms, matrices, strict=True)
            if matrix
        ]
        maps.append(
            {"key": key, "name": name, "width": heatmap.width(found.languages), "legend": heatmap.legend(scale, name)}
            | {"panels": panels}
        )
    return maps


def _curves(found: Results, lines: Sequence[Line], styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    if not any(line.points for line in lines):
        return []
    up = loss_curves.loss_scale(lines)
    views = []
    for kind, name in (("stages", "stages side by side"), ("tokens", "by training tokens")):
        across = loss_curves.axis(kind, found.languages, lines)
        panels = [loss_curves.draw(language, lines, styles, across, up) for language in found.languages]
        views.append({"key": kind, "name": name, "log": up.log, "width": loss_curves.WIDTH, "panels": panels})
    return views


def _forgetting(found: Results, styles: Mapping[str, Style]) -> list[Markup]:
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
