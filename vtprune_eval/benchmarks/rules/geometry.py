"""Point-in-region tests that the grounding rules share. Borders are inside unless a rule says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..untrusted import number_pair

Box = Sequence[float]


def as_corners(box_xywh: Box) -> tuple[float, float, float, float]:
    """(left, top, width, height) as two corners."""
    x, y, w, h = box_xywh
    return x, y, x + w, y + h


def fractions_of(corners: Box, size: Sequence[float]) -> tuple[float, float, float, float]:
    """Two corners in pixels as fractions of an image of ``size`` (width, height)."""
    return corners[0] / size[0], corners[1] / size[1], corners[2] / size[0], corners[3] / size[1]


def inside(point: Sequence[float], corners: Box) -> bool:
    """Is (x, y) inside two corners, borders included? Corners in the wrong order contain nothing."""
    return corners[0] <= point[0] <= corners[2] and corners[1] <= point[1] <= corners[3]


def ordered(corners: Box) -> tuple[float, float, float, float]:
    """The same corners with the smaller values first."""
    return (
        min(corners[0], corners[2]),
        min(corners[1], corners[3]),
        max(corners[0], corners[2]),
        max(corners[1], corners[3]),
    )


def inside_polygon(point: Sequence[float], flat: Sequence[float]) -> bool:
    """Even-odd ray casting to the right over a flat list x1, y1, x2, y2, ...

    Left and top edges are inside, right and bottom ones outside. Fewer than three corners contain nothing.
    """
    x, y = point[0], point[1]
    n = len(flat) // 2
    if n < 3:
        return False
    odd = False
    for i in range(n):
        j = i - 1 if i else n - 1
        xi, yi, xj, yj = flat[2 * i], flat[2 * i + 1], flat[2 * j], flat[2 * j + 1]
        if (yi > y) != (yj > y) and x < (xj - xi) * (y - yi) / (yj - yi) + xi:
            odd = not odd
    return odd


def pair_or_none(value: Any) -> tuple[float, float] | None:
    """The first two numbers of a list of at least two finite numbers, else None."""
    return number_pair(value)


def mean(values: Sequence[float]) -> float | None:
    """Plain mean; None ("not defined") for no values."""
    return sum(values) / len(values) if values else None
