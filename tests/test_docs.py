"""The documentation names files, functions and sections that exist."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "palimpsest"
PAGES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
]  # fmt: skip
TOURS = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+://", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{page.name}: {target}: no such file"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}: no such heading"


@pytest.mark.parametrize("page", TOURS, ids=lambda page: page.name)
def test_modules_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`([\w./]+\.(?:py|smk))`", page.read_text(encoding="utf-8")):
        places = (SOURCE, ROOT, ROOT / "workflow" / "rules", SOURCE / "evaluate")
        assert any((place / name).is_file() for place in places), f"{page.name}: {name}: no such file"


@pytest.mark.parametrize("page", TOURS, ids=lambda page: page.name)
def test_functions_that_are_named_are_defined_there(page: Path) -> None:
    """As in: `train/forward_backward.py` `forward_backward`."""
    for file, name in re.findall(r"`([\w/]+\.py)`\s+`([\w.]+)`", page.read_text(encoding="utf-8")):
        for part in name.split("."):
            defined = rf"^\s*(def|class) {part}\b|^\s*{part}\b.*="
            assert re.search(defined, (SOURCE / file).read_text(encoding="utf-8"), re.MULTILINE), f"{file}: no {part}"
