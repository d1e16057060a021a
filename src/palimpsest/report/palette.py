"""Colour, dash and mark of each arm. The colours are CSS variables of style.css, for light and for dark pages.

They stay apart for the common colour vision deficiencies (after Okabe and Ito); every line also has a dash and a label,
every mark a shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def _polygon(corners: int, *radii: float) -> str:
    """SVG path in the unit square that Vega scales; ``radii`` alternate, the first points up."""
    at = [(radii[i % len(radii)], 2 * math.pi * i / corners) for i in range(corners)]
    return "M" + "L".join(f"{r * math.sin(turn):.3f},{-r * math.cos(turn):.3f}" for r, turn in at) + "Z"


_HEXAGON, _PENTAGON, _STAR = _polygon(6, 1.0), _polygon(5, 1.05), _polygon(10, 1.3, 0.6)
_KNOWN: dict[str, tuple[tuple[float, ...], str]] = {
    "sequential": ((1, 0), "circle"),
    "replay": ((7, 2.5), "square"),
    "mer": ((1, 0), "diamond"),
    "reptile": ((2, 2.5), "triangle-up"),
    "joint": ((1.5, 3), _HEXAGON),
}
_OTHER_SHAPES = ("triangle-down", _STAR, "cross", _PENTAGON)
_OTHER_DASHES = ((10.0, 3.0), (4.0, 2.0, 1.0, 2.0), (6.0, 2.0, 2.0, 2.0))
_OTHER_COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class Style:
    """How an arm is drawn. ``key`` is its number on this page: arm names never become part of CSS or scripts."""

    key: int
    name: str
    colour: str
    dash: tuple[float, ...]
    shape: str


def styles(arms: Sequence[str]) -> dict[str, Style]:
    """A style for every arm; arms that the palette does not know use its spare colours in turn."""
    unknown = [arm for arm in arms if arm not in _KNOWN]
    return {arm: _style(key, arm, unknown.index(arm) if arm in unknown else None) for key, arm in enumerate(arms)}


def _style(key: int, arm: str, spare: int | None) -> Style:
    if spare is None:
        dash, shape = _KNOWN[arm]
        return Style(key=key, name=arm, colour=f"var(--arm-{arm})", dash=dash, shape=shape)
    colour = f"var(--arm-other-{spare % _OTHER_COLOURS + 1})"
    dash = _OTHER_DASHES[spare // _OTHER_COLOURS % len(_OTHER_DASHES)]
    return Style(key=key, name=arm, colour=colour, dash=dash, shape=_OTHER_SHAPES[spare % len(_OTHER_SHAPES)])
