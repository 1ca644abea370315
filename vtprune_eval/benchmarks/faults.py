"""What is wrong with an annotation that could be read: places that no answer can hit, actions that no rule knows.

Tolerant where the data sets are: a box that reaches over the screen's edge is none of the faults (its middle has to be
on the screen), corners of UI-Vision may be swapped, and boxes of Mind2Web may lie below the part of the page that is
shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .judges.phone import aitw_action, androidcontrol_action
from .protocols.aitw import SCROLLS
from .untrusted import Unreadable

Size = tuple[float, float]
# (what, shown value): records with the same "what" are counted together.
Fault = tuple[str, str]
NO_TARGET = "records have no target and are not scored"
_DESKTOP = {
    "click",
    "doubleclick",
    "rightclick",
    "tripleclick",
    "moveto",
    "dragto",
    "write",
    "press",
    "hotkey",
    "scroll",
    "terminate",
}
_FRACTIONS: Size = (1.0, 1.0)
_THOUSANDTHS: Size = (1000.0, 1000.0)


def faults_of(benchmark: str, target: Mapping[str, Any], screen: Callable[[], Size | None]) -> list[Fault]:
    """Faults of one record's target.

    Args:
        benchmark: key of ``scoring.judges.JUDGES``, empty for the embedded tasks.
        target: as its reader gives it.
        screen: gives (width, height) of the stored screenshot in pixels, None where it cannot be opened; called only
            where a place is in pixels and the annotation does not say of how many.

    Returns:
        One pair per fault, [] for a sound target.
    """
    if target.get("type") == "none":
        return [(NO_TARGET, "")]
    truth = target.get("truth") or {}
    try:
        return list(_OWN[benchmark](truth, screen) if benchmark in _OWN else _listed_box(target, truth, screen))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        return [("annotations have another form than the format's", f"{type(error).__name__}: {error}"[:80])]


def _place(corners: Sequence[float], size: Size | None) -> Iterator[Fault]:
    """Two corners, in the unit of ``size`` (width, height)."""
    x1, y1, x2, y2 = corners
    if not all(map(math.isfinite, corners)):
        yield "boxes are not finite", str(list(corners))
    elif x1 >= x2 or y1 >= y2:
        yield "boxes are inverted or without area", str(list(corners))
    elif size and not (0 <= (x1 + x2) / 2 <= size[0] and 0 <= (y1 + y2) / 2 <= size[1]):
        yield "boxes are off the screen", f"{list(corners)} on {size[0]:g}x{size[1]:g}"


def _xywh(box: Sequence[float], size: Size | None) -> Iterator[Fault]:
    x, y, w, h = box
    return _place((x, y, x + w, y + h), size)


def _point(point: Sequence[float], size: Size | None) -> Iterator[Fault]:
    x, y = point
    if not (math.isfinite(x) and math.isfinite(y)):
        yield "points are not finite", str([x, y])
    elif size and not (0 <= x <= size[0] and 0 <= y <= size[1]):
        yield "points are off the screen", f"{[x, y]} on {size[0]:g}x{size[1]:g}"


def _unknown(kind: Any) -> Fault:
    return f"action types are unknown ({str(kind)[:40]!r})", ""


def _listed_box(
    target: Mapping[str, Any], truth: Mapping[str, Any], screen: Callable[[], Size | None]
) -> Iterator[Fault]:
    """Grounding data sets and the embedded tasks."""
    size = tuple(truth["image_size"]) if "image_size" in truth else None
    box = target.get("box_xyxy") or (target.get("action") or {}).get("box_xyxy")
    if box:
        yield from _place(box, size or screen())
    elif target.get("type") == "region":
        kind, flat = truth["box_type"], truth["box_coordinates"]
        if kind == "polygon":
            xs, ys = flat[::2], flat[1::2]
            if len(flat) < 6 or len(flat) % 2:
                yield "polygons have fewer than three corners or an odd number of coordinates", str(flat)
            else:
                yield from _place(
                    (min(xs), min(ys), max(xs), max(ys)) if all(map(math.isfinite, flat)) else (math.nan,) * 4,
                    size or screen(),
                )
        elif kind != "refusal":
            yield f"box types are unknown ({kind[:40]!r})", ""


def _agentnetbench(truth: Mapping[str, Any], screen: Callable[[], Size | None]) -> Iterator[Fault]:
    if not truth["ground_truth_actions"]:
        yield "steps have no annotated action (ground_truth_actions is empty)", ""
    for actions in (truth["ground_truth_actions"], *truth["alternative_options"]):
        for action in actions:
            if str(action.get("type")).lower() not in _DESKTOP:
                yield _unknown(action.get("type"))
            for found in (action.get("metadata") or {}).get("bboxes") or []:
                yield from _xywh(found["rel_bbox"], _FRACTIONS)
            at = (action.get("params") or {}).get("position")
            if at:
                yield from _point((at["x"], at["y"]), _FRACTIONS)


def _aitw(truth: Mapping[str, Any], screen: Callable[[], Size | None]) -> Iterator[Fault]:
    kind, word = truth["action_type_id"], truth["action_type_text"]
    try:
        aitw_action(truth)
    except Unreadable:
        yield _unknown(kind)
    if kind == 4 and word != "click" and word not in SCROLLS:
        yield _unknown(word)
    if kind == 4:
        yield from _point(truth["touch"], _FRACTIONS)
        yield from _point(truth["lift"], None)  # a swipe may end beyond the edge
    if not all(map(math.isfinite, truth["annot_position"])):
        yield "boxes are not finite", ""
    elif len(truth["annot_position"]) % 4:
        yield "annotated boxes are no rows of four numbers", f"{len(truth['annot_position'])} numbers"


def _androidcontrol(truth: Mapping[str, Any], screen: Callable[[], Size | None]) -> Iterator[Fault]:
    action = truth["action"]
    try:
        androidcontrol_action(action, (1, 1))
    except Unreadable:
        yield _unknown(action.get("action_type"))
    if "x" in action:
        yield from _point((action["x"], action["y"]), screen())


def _gui_odyssey(truth: Mapping[str, Any], screen: Callable[[], Size | None]) -> Iterator[Fault]:
    if truth.get("sam2_bbox"):
        yield from _place(truth["sam2_bbox"], _THOUSANDTHS)
    name, _, info = truth["answer"].partition(":")
    if name in ("CLICK", "LONG_PRESS"):
        x, y = (float(v) for v in info.strip(" ()").split(","))
        yield from _point((x, y), _THOUSANDTHS)


def _mind2web(truth: Mapping[str, Any], screen: Callable[[], Size | None]) -> Iterator[Fault]:
    for box in truth["boxes"]:
        if list(box) != [-1, -1, 0, 0]:  # the parquet reader's mark of a step without a place
            yield from _xywh(box, None)


_OWN: dict[str, Callable[[Mapping[str, Any], Callable[[], Size | None]], Iterator[Fault]]] = {
    "aitw": _aitw,
    "androidcontrol": _androidcontrol,
    "gui_odyssey": _gui_odyssey,
    "agentnetbench": _agentnetbench,
    "mind2web": _mind2web,
}
