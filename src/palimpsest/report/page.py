"""results/report.html: the whole comparison as one file that opens without a network."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from palimpsest.artifact import atomic_file
from palimpsest.report import answers, figures, generated, growth, inputs, palette, panels, story, views
from palimpsest.report.charts.marks import mark
from palimpsest.report.inputs import Inputs
from palimpsest.report.palette import Style
from palimpsest.report.results import Results

logger = logging.getLogger(__name__)

_TEMPLATES = Path(__file__).parent / "templates"


def build(
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
    environment.filters["language"] = figures.language
    environment.globals["glyph"] = _glyph
    found = given.results
    arms = [arm.name for arm in found.arms]
    swept = given.scaling.arms if given.scaling else []
    styles = palette.styles(list(dict.fromkeys(arms + swept)))
    return environment.get_template("page.html").render(
        css=_verbatim("style.css"),
        script=_verbatim("page.js"),
        number=_numbers(),
        results=found,
        styles=list(styles.values()),
        story=story.paragraphs(found),
        title=_title(found),
        samples={language: reasons for language, reasons in given.dropped.items() if reasons},
        origins=given.origins,
        **_tables(given, styles),
        **panels.draw(given, styles),
    )


def _verbatim(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _glyph(shape: str) -> Markup:
    return mark(shape, 7, 7, 4.4, class_="run")


def _numbers() -> Callable[[str], str]:
    """Numbers figures and tables in the order in which they stand, since parts of the page may be absent."""
    counts: Counter[str] = Counter()

    def number(kind: str) -> str:
        counts[kind] += 1
        return f"{kind} {counts[kind]}"

    return number


def _title(found: Results) -> str:
    names = [figures.isolated(figures.language(language)) for language in found.languages]
    return ", then\N{NO-BREAK SPACE}".join(names) or "No languages"


def _tables(given: Inputs, styles: Mapping[str, Style]) -> dict[str, Any]:
    found, scaling = given.results, given.scaling
    return {
        "headline": views.headline(found, styles),
        "ink": views.ink(found, styles),
        "rates": views.rates(found),
        "ledger_rows": views.ledger(found, styles),
        "data_rows": views.data(found),
        "source_rows": views.sources(found),
        "notes": views.notes(found),
        "lineages": views.lineages(found, styles),
        "revisions": views.revisions(found),
        "params": views.params(found),
        "answers": answers.table(found, styles),
        "generated": generated.read(found, styles),
        "exchange": growth.exchange(scaling, styles) if scaling else [],
        "fits": growth.fits(scaling, styles) if scaling else [],
    }
