"""The colour, dash and mark of each arm. The colours are CSS variables in style.css, for light and dark pages.

They stay apart for the common colour vision deficiencies (after Okabe and Ito); every line has a dash and a label too,
every mark a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_KNOWN = {
    "sequential": None,
    "replay": "7 2.5",
    "mer": None,
    "reptile": "2 2.5",
    "joint": "1.5 3",
}
_SHAPES = {"sequential": "circle", "replay": "square", "mer": "diamond", "reptile": "triangle", "joint": "hexagon"}
_OTHER_SHAPES = ("down", "star", "cross", "pentagon")
_DASHES = ("10 3", "4 2 1 2", "6 2 2 2")
_EXTRA_COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class Style:
    """How an arm is drawn. ``key`` is its number on this page: arm names never become part of CSS or scripts."""

    key: int
    name: str
    colour: str
    dash: str | None
    shape: str


def styles(arms: Sequence[str]) -> dict[str, Style]:
    """A style for every arm; arms that the palette does not know take its spare colours in turn."""
    unknown = [arm for arm in arms if arm not in _KNOWN]
    return {arm: _style(key, arm, unknown.index(arm) if arm in unknown else None) for key, arm in enumerate(arms)}


def _style(key: int, arm: str, spare: int | None) -> Style:
    if spare is None:
        return Style(key=key, name=arm, colour=f"var(--arm-{arm})", dash=_KNOWN[arm], shape=_SHAPES[arm])
    colour = f"var(--arm-other-{spare % _EXTRA_COLOURS + 1})"
    dash = _DASHES[spare // _EXTRA_COLOURS % len(_DASHES)]
    return Style(key=key, name=arm, colour=colour, dash=dash, shape=_OTHER_SHAPES[spare % len(_OTHER_SHAPES)])
