"""A report's page as a strict parser sees it, and the charts that it holds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from palimpsest.report import build_report, inputs
from palimpsest.report.dropped_documents import DroppedDocuments
from support.made_results import MadeResults

_VOID = {"meta", "input", "br", "wbr", "link", "img", "hr"}


class Page(HTMLParser):
    """Every element must be closed by its own end tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def count(self, tag: str, **attributes: str) -> int:
        return sum(name == tag and attributes.items() <= found.items() for name, found in self.found)


def render(made: MadeResults, folder: Path, dropped: DroppedDocuments | None = None) -> str:
    """The page of made-up results alone."""
    return build_report.render(replace(inputs.read(*made.write(folder), []), dropped=dropped or {}))


def table(text: str, figure: str) -> str:
    """The HTML of the table in a figure."""
    found = re.search(rf'<figure id="{figure}".*?(<table>.*?</table>)', text, re.DOTALL)
    assert found
    return found[1]


def own_parts(text: str) -> str:
    """The page without Vega's script, which is not ours."""
    return re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)


def charts(text: str) -> dict[str, Any]:
    """Name → what the page's script draws, its ``table`` as rows by column."""
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found
    listed: dict[str, Any] = json.loads(found[1])["charts"]
    for chart in listed.values():
        pairs = [zip(chart["columns"], row, strict=True) for row in chart["rows"]]
        chart["table"] = [{column: value for column, value in row if value is not None} for row in pairs]
    return listed
