"""The style sheet's colours, measured: contrast, and distance for colour-blind readers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from palimpsest.report.charts import heatmap
from palimpsest.report.results import Quantity

_STYLE = Path(heatmap.__file__).parent.parent / "templates" / "style.css"


def _colours(dark: bool) -> dict[str, tuple[float, float, float]]:
    """The style sheet's colours as linear RGB."""
    parts = _STYLE.read_text().split("prefers-color-scheme: dark", 1)
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6})", parts[dark])
    channels = {name: [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for name, code in found}
    return {
        n: tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
        for n, rgb in channels.items()
    }


def _contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2 contrast ratio."""
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_can_be_read_on_any_ink(dark: bool) -> None:
    colours = _colours(dark)
    pale, full = _oklab(colours["ink-0"]), _oklab(colours["ink-1"])
    for percent in range(101):
        cell = heatmap._cell(Quantity(mean=2.0), 1 - percent / 100, 0, 0, "before", "")
        text = colours["on-ink" if "on-ink" in cell else "on-pale"]
        fill = _from_oklab([a + (b - a) * percent / 100 for a, b in zip(pale, full, strict=True)])
        assert _contrast(fill, text) >= 4.4, percent


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_read(dark: bool) -> None:
    colours = _colours(dark)
    arms = [name for name in colours if name.startswith("arm-")]
    assert {f"arm-{arm}" for arm in ("sequential", "replay", "reptile", "mer", "joint")} <= set(arms)
    for name in [*arms, "text", "soft", "accent"]:
        assert _contrast(colours[name], colours["paper"]) >= 4.5, name


# Machado, Oliveira and Fernandes 2009, severity 1: protanopia, deuteranopia (linear RGB).
_DEFICIENCIES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("deficiency", _DEFICIENCIES)
def test_arms_stay_apart_for_colour_blind_readers(dark: bool, deficiency: str) -> None:
    matrix = _DEFICIENCIES[deficiency]
    seen = {
        name: _oklab([min(max(sum(a * c for a, c in zip(row, rgb, strict=True)), 0), 1) for row in matrix])
        for name, rgb in _colours(dark).items()
        if name in ("arm-sequential", "arm-replay", "arm-mer", "arm-reptile", "arm-joint")
    }
    for one, other in itertools.combinations(seen, 2):
        assert sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5 > 0.055, (one, other)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("deficiency", [None, *_DEFICIENCIES])
def test_compute_rises_in_lightness_and_ends_far_apart(dark: bool, deficiency: str | None) -> None:
    """Much stands out from the page, little does not; a reader who sees no hue can tell them in between."""
    colours = _colours(dark)
    low, high = _oklab(colours["compute-0"]), _oklab(colours["compute-1"])
    seen = []
    for share in range(11):
        rgb = _from_oklab([a + (b - a) * share / 10 for a, b in zip(low, high, strict=True)])
        matrix = _DEFICIENCIES[deficiency] if deficiency else ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        seen.append(_oklab([min(max(sum(a * c for a, c in zip(row, rgb, strict=True)), 0), 1) for row in matrix])[0])
    steps = [(after - before) * (1 if dark else -1) for before, after in itertools.pairwise(seen)]
    assert min(steps) > 0.03 and sum(steps) > 0.45
    assert _contrast(colours["compute-1"], colours["paper"]) >= 7


def _oklab(rgb: Sequence[float]) -> list[float]:
    """Ottosson 2020."""
    r, g, b = rgb
    cones = [
        0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
        0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
        0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
    ]
    x, y, z = (cone ** (1 / 3) for cone in cones)
    return [
        0.2104542553 * x + 0.793617785 * y - 0.0040720468 * z,
        1.9779984951 * x - 2.428592205 * y + 0.4505937099 * z,
        0.0259040371 * x + 0.7827717662 * y - 0.808675766 * z,
    ]


def _from_oklab(lab: Sequence[float]) -> tuple[float, ...]:
    """The inverse of _oklab, clipped to sRGB."""
    light, a, b = lab
    x, y, z = (
        (light + p * a + q * b) ** 3
        for p, q in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.291485548))
    )
    rows = (
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.707614701),
    )
    return tuple(min(max(p * x + q * y + r * z, 0), 1) for p, q, r in rows)
