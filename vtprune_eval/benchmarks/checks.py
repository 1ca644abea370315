"""What can be wrong with an annotation that could be read: places that no answer can hit, actions that no rule knows.

Tolerant where the data sets are: a box that reaches over the screen's edge is none of the faults (its middle has to be
on the screen), corners of UI-Vision may be swapped, and boxes of Mind2Web may lie below the part of the page that is
shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Size = tuple[float, float]
# (what, shown value): records with the same "what" are counted together.
Fault = tuple[str, str]
# Gives (width, height) of the stored screenshot in pixels, None where it cannot be opened.
Screen = Callable[[], Size | None]
NO_TARGET = "records have no target and are not scored"
FRACTIONS: Size = (1.0, 1.0)
THOUSANDTHS: Size = (1000.0, 1000.0)


def faults_of(
    faults: Callable[[Mapping[str, Any], Screen], Iterator[Fault]], target: Mapping[str, Any], screen: Screen
) -> list[Fault]:
    """Faults of one record's target, [] for a sound one.

    Args:
        faults: of the benchmark.
        target: as its reader gives it.
        screen: called only where a place is in pixels and the annotation does not say of how many.
    """
    if target.get("type") == "none":
        return [(NO_TARGET, "")]
    try:
        return list(faults(target, screen))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        return [("annotations have another form than the format's", f"{type(error).__name__}: {error}"[:80])]


def place(corners: Sequence[float], size: Size | None) -> Iterator[Fault]:
    """Faults of two corners, in the unit of ``size`` (width, height)."""
    x1, y1, x2, y2 = corners
    if not all(map(math.isfinite, corners)):
        yield "boxes are not finite", str(list(corners))
    elif x1 >= x2 or y1 >= y2:
        yield "boxes are inverted or without area", str(list(corners))
    elif size and not (0 <= (x1 + x2) / 2 <= size[0] and 0 <= (y1 + y2) / 2 <= size[1]):
        yield "boxes are off the screen", f"{list(corners)} on {size[0]:g}x{size[1]:g}"


def xywh(box: Sequence[float], size: Size | None) -> Iterator[Fault]:
    """Faults of left, top, width and height."""
    x, y, w, h = box
    return place((x, y, x + w, y + h), size)


def point_on(point: Sequence[float], size: Size | None) -> Iterator[Fault]:
    """Faults of a place."""
    x, y = point
    if not (math.isfinite(x) and math.isfinite(y)):
        yield "points are not finite", str([x, y])
    elif size and not (0 <= x <= size[0] and 0 <= y <= size[1]):
        yield "points are off the screen", f"{[x, y]} on {size[0]:g}x{size[1]:g}"


def unknown(kind: Any) -> Fault:
    """An action that no rule knows."""
    return f"action types are unknown ({str(kind)[:40]!r})", ""


def listed_box(target: Mapping[str, Any], screen: Screen) -> Iterator[Fault]:
    """Grounding data sets and the embedded tasks."""
    truth = target.get("truth") or {}
    size = tuple(truth["image_size"]) if "image_size" in truth else None
    box = target.get("box_xyxy") or (target.get("action") or {}).get("box_xyxy")
    if box:
        yield from place(box, size or screen())
    elif target.get("type") == "region":
        kind, flat = truth["box_type"], truth["box_coordinates"]
        if kind == "polygon":
            xs, ys = flat[::2], flat[1::2]
            if len(flat) < 6 or len(flat) % 2:
                yield "polygons have fewer than three corners or an odd number of coordinates", str(flat)
            else:
                yield from place(
                    (min(xs), min(ys), max(xs), max(ys)) if all(map(math.isfinite, flat)) else (math.nan,) * 4,
                    size or screen(),
                )
        elif kind != "refusal":
            yield f"box types are unknown ({kind[:40]!r})", ""
