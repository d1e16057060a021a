"""The style sheet's colours, measured: contrast, and distance for colour-blind readers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from palimpsest.report.charts import loss_matrix

_STYLE = Path(loss_matrix.__file__).parent.parent / "templates" / "style.css"


def _channels(dark: bool) -> dict[str, list[float]]:
    """The style sheet's colours as sRGB from 0 to 1."""
    parts = _STYLE.read_text().split("prefers-color-scheme: dark", 1)
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6})\b", parts[dark])
    return {name: [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for name, code in found}


def _linear(rgb: Sequence[float]) -> tuple[float, ...]:
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)


def _colours(dark: bool) -> dict[str, tuple[float, ...]]:
    """The style sheet's colours as linear RGB."""
    return {name: _linear(rgb) for name, rgb in _channels(dark).items()}


def _contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2 contrast ratio."""
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_can_be_read_on_any_ink(dark: bool) -> None:
    channels = _channels(dark)
    for percent in range(101):
        text = loss_matrix.text_on(percent / 100).removeprefix("var(--").removesuffix(")")
        written = (0.0, 0.0, 0.0) if text == "#000000" else _linear(channels[text])
        mixed = [a + (b - a) * percent / 100 for a, b in zip(channels["ink-0"], channels["ink-1"], strict=True)]
        assert _contrast(_linear(mixed), written) >= 4.4, percent


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
