"""From what a model said to an action. The text is untrusted: it is searched, never evaluated."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# Nothing useful of a grounding or navigation answer lies behind this; it bounds the work on hostile text.
MAX_CHARS = 4096
_NUMBER = r"[-+]?\d{1,7}(?:\.\d{1,30})?"
# Digits of a JSON key such as "point_2d" are no part of a pair: a letter, a quote or a colon follows them.
_PAIR = re.compile(rf"({_NUMBER})[\s,;]{{1,4}}({_NUMBER})")


def first_point(text: str) -> tuple[float, float] | None:
    """The first pair of numbers, e.g. of ``click 37 82``, ``(0.3, 0.8)`` or ``{"point_2d": [374, 822]}``.

    Returns:
        (x, y) in the model's own frame, or None.
    """
    match = _PAIR.search(text[:MAX_CHARS])
    return (float(match[1]), float(match[2])) if match else None


def fraction(point: tuple[float, float], frame: Mapping[str, Any], image: int = -1) -> tuple[float, float] | None:
    """A point of the model's frame as fractions of the image.

    Args:
        point: as read from the answer.
        frame: ``coordinates`` (``hundredths``, ``thousandths``, ``fractions`` or ``resized_pixels``), and
            ``model_sizes``: (width, height) of every image as the model really saw it.
        image: which image the point is on.

    Returns:
        (x, y) with both in [0, 1], or None when the point lies outside the frame.
    """
    kind = frame["coordinates"]
    if kind == "resized_pixels":
        width, height = frame["model_sizes"][image]
    else:
        width = height = {"hundredths": 100, "thousandths": 1000, "fractions": 1}[kind]
    x, y = point[0] / width, point[1] / height
    return (x, y) if math.isfinite(x) and math.isfinite(y) and 0 <= x <= 1 and 0 <= y <= 1 else None
