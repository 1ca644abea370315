"""Rules that test a point against a box: ScreenSpot's, GUI-KV's copy of it, VLMEvalKit's.

Borders are inside; VLMEvalKit takes one pixel off the right and the bottom of v1 and v2, reads an unreadable answer as
(0, 0) and weights its text, icon and category accuracies by the squared sizes of the (category, type) groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ...json_values import JsonObject
from ...sample import Score, graded, wrong
from ..action import Action
from ..benchmark import Frame, Rule, Truth, scale, screen_size
from ..grammars import opencua, ui_tars
from ..grammars.pointing import first_argument, pointed, vlmeval_point
from ..grammars.seeclick import position
from ..untrusted import Unreadable
from . import RuleUndefined
from .geometry import as_corners, fractions_of, inside

Size = tuple[int, int]
# A point as VLMEvalKit compares it, and whether it is known to be in fractions; else it takes large numbers for pixels.
KitPoint = tuple[tuple[float, float], bool]
NOWHERE = {"correct": 0, "wrong_format": 1, "point": None}


def the_point(action: Action, grammar: str, frame: Frame) -> tuple[float, float]:
    """The place of an answer to a grounding question.

    Raises:
        Unreadable: there is none.
    """
    if action.point is None:
        raise Unreadable("no_point")
    return action.point


def in_box(point: Sequence[float], corners: Sequence[float]) -> Score:
    """Is a point in two corners, both as fractions? ``parts``: ``correct``, ``wrong_format``, ``point``."""
    hit = inside(point, corners)
    return graded(hit, {"correct": int(hit), "wrong_format": 0, "point": list(point)})


def seeclick(text: Any, box_xywh: Sequence[float], image_size: Sequence[int]) -> Score:
    """v1 and v2 by SeeClick: the answer's point in fractions; ``parts``: ``correct``, ``wrong_format``, ``point``."""
    try:
        return in_box(position(text), fractions_of(as_corners(box_xywh), image_size))
    except Unreadable as error:
        return error.score(NOWHERE)


def guikv(
    text: Any, box_xywh: Sequence[float], image_size: Size, *, model: str = "ui_tars", model_size: Size | None = None
) -> Score:
    """v1 and v2 by GUI-KV: ``guikv_point`` in the box."""
    try:
        point = guikv_point(text, image_size, model=model, model_size=model_size)
    except Unreadable as error:
        return error.score(NOWHERE)
    return in_box(point, fractions_of(as_corners(box_xywh), image_size))


def guikv_point(text: Any, image_size: Size, *, model: str, model_size: Size | None = None) -> tuple[float, float]:
    """UI-TARS: the first argument of the first action, whatever the action; OpenCUA: ``opencua.grounding``.

    Raises:
        Unreadable: there is no such point.
    """
    if model == "opencua":
        return opencua.grounding(text, image_size, model_size=model_size)
    parsed = ui_tars.parse(text, image_size, model_size=model_size, empty_without_action=True)
    point = first_argument(parsed[0]["action_inputs"]) if parsed else None
    if point is None:
        raise Unreadable("no_point", "IndexError")
    return point


def read_seeclick(text: str, frame: Frame) -> tuple[float, float]:
    """An answer as SeeClick reads its own model; what its reader refuses is read as everybody's.

    Raises:
        Unreadable: there is no place.
    """
    return the_point(pointed("seeclick", text, frame), "seeclick", frame)


def _guikv_reads(model: str, text: str, frame: Frame) -> tuple[float, float]:
    return guikv_point(text, screen_size(frame), model=model, model_size=scale(frame))


GUIKV_READERS = {model: partial(_guikv_reads, model) for model in ("ui_tars", "opencua")}


def kit_read(text: str, frame: Frame) -> KitPoint:
    """An answer in the kit's own grammar.

    Raises:
        Unreadable: see :func:`~..grammars.pointing.vlmeval_point`.
    """
    return vlmeval_point(text), False


def kit_enter(action: Action, grammar: str, frame: Frame) -> KitPoint:
    """The place of any other answer; the kit knows no negative numbers."""
    x, y = the_point(action, grammar, frame)
    return (max(0.0, x), max(0.0, y)), True


def kit_rule(compare: Callable[[KitPoint, Truth, Frame], Score]) -> Rule:
    """The kit's rule for the annotations of one benchmark.

    An answer without a point is (0, 0) to the kit; a click that holds no numbers is a format error.
    """

    def refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
        if error.reason == "not_a_number":
            return error.score({"correct": 0, "wrong_format": 1})
        return compare(((0.0, 0.0), True), truth, frame)

    return Rule(compare, enter=kit_enter, readers={"pyautogui": kit_read}, understand=pointed, refused=refused)


def vlmeval(text: Any, box: Sequence[float], image_size: Sequence[int], *, version: str = "v1v2") -> Score:
    """VLMEvalKit (ms-vlmeval 0.0.20) on a text; see :func:`compare_kit`."""
    try:
        return compare_kit((vlmeval_point(text), False), box, image_size, version)
    except Unreadable as error:
        return error.score({"correct": 0, "wrong_format": 1})


def compare_kit(said: KitPoint, box: Sequence[float], image_size: Sequence[int], version: str) -> Score:
    """VLMEvalKit's test: if one coordinate is above 1, both are divided by the size of the image file.

    Args:
        said: a point.
        box: x, y, width, height (``v1v2``) or two corners (``pro``), pixels.
        image_size: (width, height) of the file.
        version: ``v1v2`` or ``pro``.

    Returns:
        ``parts``: ``correct``, ``wrong_format``; ``error`` is set where the reference stops (box outside the image).
    """
    x1, y1, x2, y2 = box
    if version == "v1v2":
        x2, y2 = x1 + x2 - 1, y1 + y2 - 1
    corners = fractions_of([0 if v == -1 else v for v in (x1, y1, x2, y2)], image_size)
    (x, y), fractions = said
    if not fractions and (x > 1 or y > 1):
        x, y = x / image_size[0], y / image_size[1]
    if any(v < 0 or v > 1 for v in corners):
        return wrong("box_outside_image", {"correct": 0, "wrong_format": 0}, error="ValueError")
    hit = inside((x, y), corners)
    return graded(hit, {"correct": int(hit), "wrong_format": 0})


def vlmeval_report(results: Sequence[Mapping[str, Any]]) -> JsonObject:
    """VLMEvalKit's summary in percent; None where it has nothing to average.

    Args:
        results: ``correct`` (1, 0), optional ``wrong_format``, ``ui_type`` or ``data_type``, optional ``category``.

    Raises:
        RuleUndefined: no results.
    """
    if not results:
        raise RuleUndefined("no results")
    stats: dict[str, list[int]] = {}
    for r in results:
        kind = r["ui_type"] if "ui_type" in r else r["data_type"]
        key = f"{r['category']}:{kind}" if "category" in r else kind
        stats.setdefault(key, []).append(-1 if r.get("wrong_format") else int(r["correct"]))
    everything = [v for group in stats.values() for v in group]
    out: JsonObject = {f"{key}:cnt": len(v) for key, v in stats.items()}
    out["Overall_Accuracy"] = sum(v > 0 for v in everything) / len(everything) * 100
    out["Format_Err_Rate"] = sum(v < 0 for v in everything) / len(everything) * 100
    out["Text_Accuracy"] = _squared([v for k, v in stats.items() if k.endswith("text")])
    out["Icon_Accuracy"] = _squared([v for k, v in stats.items() if k.endswith("icon")])
    for category in dict.fromkeys(r["category"] for r in results if "category" in r):
        out[f"{category}_Accuracy"] = _squared([v for k, v in stats.items() if k.split(":")[0] == category])
    return out


def _squared(groups: Sequence[Sequence[int]]) -> float | None:
    """Every group is counted once per member: the weights are squared sizes."""
    weight = sum(len(g) ** 2 for g in groups)
    return sum(len(g) * sum(v > 0 for v in g) for g in groups) / weight * 100 if weight else None
