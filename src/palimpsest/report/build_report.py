"""results/report.html: the whole comparison as one file that opens without a network.

The charts are Vega-Lite, drawn in the reader's browser by Vega, whose JavaScript is embedded in the page. Hand-written
code covers only what Vega lacks: line labels that do not overlap (chart.add_names), a cursor for lines that are
measured at different x (chart.add_cursor), fitting panels to the screen and to paper, and saving a drawing with its
colours resolved (page.js).
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from palimpsest.artifact import atomic_file
from palimpsest.evaluate.results.eval_all import EvalAll
from palimpsest.report import (
    formatting,
    generations,
    inputs,
    palette,
    provenance,
    scaling_table,
    summary,
    tables,
    zero_shot,
)
from palimpsest.report.charts import (
    chart,
    drop_reasons,
    forgetting,
    gradient_cosines,
    loss_curves,
    loss_matrix,
    scaling_laws,
    stability_plasticity,
    token_ledger,
)
from palimpsest.report.charts.chart import Chart
from palimpsest.report.inputs import Inputs
from palimpsest.report.palette import Style
from palimpsest.report.training_curves import ALL_WEIGHTS, Line

logger = logging.getLogger(__name__)

_TEMPLATES = Path(__file__).parent / "templates"


def build_report(
    eval_all: Path,
    curves: Path,
    corpora: list[Path],
    out: Path,
    alignment: Path | None = None,
    scaling: Path | None = None,
) -> None:
    """Write the page ``out`` from the files that its parts show; whole or not at all.

    A part whose file is not given is left out. The same inputs give the same bytes. Raises ArtifactError when an input
    is missing or of another form.
    """
    page = render(inputs.read(eval_all, curves, corpora, alignment, scaling)).encode()
    with atomic_file(out) as file:
        file.write(page)
    logger.info("%s: %d bytes", out, len(page))


def render(given: Inputs) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["language"] = formatting.language
    swept = given.scaling.arms if given.scaling else []
    styles = palette.styles(list(dict.fromkeys([*given.results.arms, *swept])))
    figures = _figures(given, styles)
    return environment.get_template("page.html").render(
        css=_verbatim("style.css"),
        vega=_vega(),
        script=_verbatim("page.js"),
        charts={"config": chart.CONFIG, "charts": {each.name: each.payload() for each in _charts(figures)}},
        figures=figures,
        number=_numbers(),
        sections=[],  # grows as the page is written, for its contents
        results=given.results,
        styles=styles,
        dropped_documents={language: reasons for language, reasons in given.dropped.items() if reasons},
        origins=given.origins,
        **_texts(given),
        **_tables(given, styles),
    )


@functools.cache
def _vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script, without text that would end the script element."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Markup(script.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _verbatim(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _figures(given: Inputs, styles: Mapping[str, Style]) -> dict[str, Chart | dict[str, Chart] | None]:
    """By the names that the templates know them by: a chart, several with their names, or None where there is none."""
    results = given.results
    arms = {arm: styles[arm] for arm in results.arms}
    return {
        "matrix": _matrices(results),
        "curves": _curves(given, arms),
        "forgetting": forgetting.draw(results, arms),
        "plane": stability_plasticity.draw(results, given.scaling, styles),
        "scaling": scaling_laws.draw(given.scaling, styles) if given.scaling else None,
        "cosines": _cosines(given, arms),
        "tokens": token_ledger.draw(results, arms),
        "dropped": drop_reasons.draw(results),
    }


def _charts(figures: Mapping[str, Chart | dict[str, Chart] | None]) -> list[Chart]:
    listed = [list(found.values()) if isinstance(found, dict) else [found] for found in figures.values()]
    return [each for found in listed for each in found if each]


def _matrices(results: EvalAll) -> dict[str, Chart]:
    units = [unit for unit in (loss_matrix.NATS, loss_matrix.BITS) if loss_matrix.all_losses(results, unit)]
    return {unit: loss_matrix.draw(unit, results) for unit in units}


def _curves(given: Inputs, arms: Mapping[str, Style]) -> dict[str, Chart]:
    if not given.curves:
        return {}
    views: dict[str, loss_curves.Axis] = {"stages side by side": "stages", "by training tokens": "tokens"}
    return {name: loss_curves.draw(axis, given.curves, given.results, arms) for name, axis in views.items()}


def _cosines(given: Inputs, arms: Mapping[str, Style]) -> dict[str, Chart]:
    groups = list(dict.fromkeys(line.series for line in given.cosines if line.points))
    if ALL_WEIGHTS not in groups:
        return {}
    layers = [group for group in groups if group != ALL_WEIGHTS]
    views = {"all weights": [ALL_WEIGHTS]} | ({"by group of layers": layers} if layers else {})
    return {name: gradient_cosines.draw(shown, given.cosines, given.results, arms) for name, shown in views.items()}


def _texts(given: Inputs) -> dict[str, Any]:
    results = given.results
    names = [formatting.isolated(formatting.language(language)) for language in results.languages]
    return {
        "title": ", then\N{NO-BREAK SPACE}".join(names) or "No languages",
        "summary": summary.paragraphs(results),
        "ink": _ink(results),
        "rates": _rates(results),
        "logarithmic": bool(given.curves) and loss_curves.is_logarithmic(given.curves),
        "per_point": max((line.per_point for line in given.cosines), default=1),
        "changes": [_change(line) for line in given.cosines if line.series == ALL_WEIGHTS and line.windows],
        "lineages": provenance.lineages(results),
        "revisions": provenance.revisions(results),
        "params": provenance.params(results),
    }


def _tables(given: Inputs, styles: Mapping[str, Style]) -> dict[str, Any]:
    results, scaling = given.results, given.scaling
    return {
        "headline": tables.headline(results, styles),
        "intervals": tables.has_intervals(results),
        "tasks": zero_shot.table(results, styles),
        "generations": generations.read(results, styles),
        "ledger": tables.ledger(results, styles),
        "interpolation": tables.interpolation(given.cosines, styles),
        "data": tables.data(results),
        "sources": tables.sources(results),
        "data_notes": tables.data_notes(results),
        "exchange": scaling_table.exchange(scaling, styles) if scaling else None,
        "fits": scaling_table.fits(scaling, styles) if scaling else None,
    }


def _ink(results: EvalAll) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Arm → each language, the ink (0 to 1) that its final loss leaves it on the heat maps' scale, and that loss."""
    inks = loss_matrix.ink(loss_matrix.all_losses(results))
    return [
        (
            name,
            [
                (
                    formatting.language(language),
                    f"{inks[name, arm.stages[-1], language]:.3f}",
                    formatting.loss(loss.mean),
                )
                for language, loss in arm.final_loss.items()
            ],
        )
        for name, arm in results.arms.items()
    ]


def _rates(results: EvalAll) -> str:
    """The replay rates of the stages that replay: one where they are all alike, else each stage's."""
    found: dict[str, set[float]] = {stage: set() for stage in results.languages}
    for arm in results.arms:
        for stage, rate in results.replay_rates(arm).items():
            if rate:
                found[stage].add(float(rate))
    said = {stage: formatting.listing([formatting.rate(r) for r in sorted(rates)]) for stage, rates in found.items()}
    said = {stage: text for stage, text in said.items() if text}
    if len(set(said.values())) < 2:
        return next(iter(said.values()), "")
    return ", ".join(f"{stage} {text}" for stage, text in said.items())


def _change(line: Line) -> str:
    change = formatting.signed(fmean(window.after - window.before for window in line.windows))
    windows = formatting.counted(len(line.windows), "window")
    return f"An interpolation of {line.arm} changes the cosine by {change} on average over {windows}."


def _numbers() -> Callable[[str], str]:
    """Numbers figures and tables in the order in which they stand, since parts of the page may be absent."""
    counts: Counter[str] = Counter()

    def number(kind: str) -> str:
        counts[kind] += 1
        return f"{kind} {counts[kind]}"

    return number
