"""The marks of the arms: shapes of about equal area, so that a large one is not taken for a large number."""

from __future__ import annotations

import math

from markupsafe import Markup

from palimpsest.report.charts.svg import element, polyline

# Corners, how far the first is turned from straight up (in turns), and the radius against a circle's.
_POLYGONS = {
    "square": (4, 0.125, 1.24),
    "diamond": (4, 0.0, 1.24),
    "triangle": (3, 0.0, 1.45),
    "down": (3, 0.5, 1.45),
    "pentagon": (5, 0.0, 1.15),
    "hexagon": (6, 0.0, 1.1),
}


def mark(shape: str, x: float, y: float, radius: float, **attributes: str | float | None) -> Markup:
    """The mark around (x, y), about as large as a circle of ``radius``."""
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=radius, **attributes)
    corners = [(x + radius * dx, y + radius * dy) for dx, dy in _corners(shape)]
    return element("path", d=polyline(corners) + "Z", **attributes)


def _corners(shape: str) -> list[tuple[float, float]]:
    if shape == "star":
        return [_at(index / 10, 1.5 if index % 2 == 0 else 0.65) for index in range(10)]
    if shape == "cross":
        near, far = 0.42, 1.25
        right = [(near, -far), (near, -near), (far, -near), (far, near), (near, near), (near, far)]
        return right + [(-x, -y) for x, y in right]
    number, turned, radius = _POLYGONS[shape]
    return [_at(turned + index / number, radius) for index in range(number)]


def _at(turn: float, radius: float) -> tuple[float, float]:
    return radius * math.sin(2 * math.pi * turn), -radius * math.cos(2 * math.pi * turn)
