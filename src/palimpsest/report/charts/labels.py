"""Names written straight beside what they name, moved apart where they would touch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from palimpsest.report.charts.svg import element, polyline, spaced, text
from palimpsest.report.palette import Style

_LETTER, _LINE = 6.7, 13.0  # about the size of a letter of these labels, in pixels

Place = tuple[float, float]
Spot = tuple[float, float, str]  # x and y of a name's baseline, and whether they are its start, middle or end
_RINGS = (9, 22, 36)  # how far a name may stand from its mark, in pixels
_Box = tuple[float, float, float, float]  # left, top, right, bottom


def beside(
    names: Sequence[tuple[str, Style]], ends: Sequence[Place], right: float, top: float, bottom: float
) -> Iterator[Markup]:
    """Each name to the right of ``right``, joined to the end of its line, and level with it where there is room."""
    levels = spaced([y for _, y in ends], _LINE, top + 4, bottom - 2)
    for (name, style), (x, y), level in zip(names, ends, levels, strict=True):
        colour = f"--c:{style.colour}"
        lead = element("path", d=polyline([(x + 3, y), (right + 5, level)]), class_="lead", style=colour)
        yield element("g", lead, text(name, right + 8, level + 4, class_="label", style=colour), data_arm=style.key)


@dataclass(kw_only=True)
class Free:
    """What is left of a plane [left, right] × [top, bottom] once marks and names have taken their places."""

    left: float
    top: float
    right: float
    bottom: float
    taken: list[_Box] = field(default_factory=list)

    def block(self, x: float, y: float, radius: float) -> None:
        self.taken.append((x - radius, y - radius, x + radius, y + radius))

    def name(self, name: str, x: float, y: float, **attributes: str | float | None) -> Markup:
        """A name beside the mark at (x, y), as near as there is room, and joined to it where it is not close.

        It stands where it overlaps least with what is taken, and takes that place.
        """
        spots = [(distance, spot) for distance in _RINGS for spot in _around(x, y, distance)]
        index, box = self.take(name, [spot for _, spot in spots])
        distance, spot = spots[index]
        # From the mark to the box's nearest point, a little below the letters' middle.
        near = min(max(x, box[0]), box[2]), min(max(y, box[1] + 3), box[3] - 3)
        lead = element("path", d=polyline([(x, y), near]), class_="lead") if distance > _RINGS[0] else Markup("")
        written = text(name, spot[0], spot[1], text_anchor=spot[2], **attributes)
        return element("g", lead, written)

    def take(self, name: str, spots: Sequence[Spot], turn: float = 0) -> tuple[int, _Box]:
        """The first of the spots that overlaps least, by its index, and its box, which is taken after this.

        ``turn``: degrees by which the name is turned about its spot.
        """
        boxes = [_box(spot, _LETTER * len(name), turn) for spot in spots]
        costs = [self._cost(box) for box in boxes]
        index = costs.index(min(costs))
        self.taken.append(boxes[index])
        return index, boxes[index]

    def _cost(self, box: _Box) -> float:
        left, top, right, bottom = box
        outside = max(0, self.left - left) + max(0, self.top - top)
        outside += max(0, right - self.right) + max(0, bottom - self.bottom)
        return 100 * outside + sum(_overlap(box, other) for other in self.taken)


def _around(x: float, y: float, distance: float) -> list[Spot]:
    side, level = distance + 2, 4
    return [
        (x + side, y + level, "start"),
        (x - side, y + level, "end"),
        (x, y - distance - 4, "middle"),
        (x, y + distance + 12, "middle"),
        (x + side * 0.8, y - distance * 0.7, "start"),
        (x + side * 0.8, y + distance * 0.7 + 9, "start"),
        (x - side * 0.8, y - distance * 0.7, "end"),
        (x - side * 0.8, y + distance * 0.7 + 9, "end"),
    ]


def _box(spot: Spot, width: float, turn: float = 0) -> _Box:
    x, y, anchor = spot
    left = -width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    corners = [(dx, dy) for dx in (left, left + width) for dy in (3 - _LINE, 3)]
    across = [x + dx * cosine - dy * sine for dx, dy in corners]
    down = [y + dx * sine + dy * cosine for dx, dy in corners]
    return min(across), min(down), max(across), max(down)


def _overlap(one: _Box, other: _Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)
