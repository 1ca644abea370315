"""Scoring rules of the embedded tasks and of plain point-in-box grounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..sample import Score
from .answers import first_point, fraction, parse_action
from .vlmeval.rules import score as vlmeval

FORMAT_ERROR = Score(0.0, None, "format_error")


def inside(point: tuple[float, float] | list[float], box: list[float], size: tuple[int, int]) -> bool:
    """Is a point (fractions) inside a box (x1, y1, x2, y2 in pixels of an image of ``size``)? Borders are inside."""
    x, y = point[0] * size[0], point[1] * size[1]
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def point_in_box(text: str, target: dict[str, Any], frame: dict[str, Any]) -> Score:
    """ScreenSpot's rule: the first point of the answer lies in the target's box (pixels of the last file)."""
    if target["type"] != "box":
        return Score(None, None, "no_target")
    pair = first_point(text)
    at = fraction(pair, frame) if pair else None
    if at is None:
        return FORMAT_ERROR
    hit = inside(at, target["box_xyxy"], frame["file_sizes"][-1])
    return Score(float(hit), {"point": list(at)}, "ok" if hit else "wrong")


def exact_match(text: str, target: dict[str, Any], frame: dict[str, Any]) -> Score:
    """The answer equals one of the accepted ones, ignoring case and outer or repeated white space."""
    said = " ".join(text[:4096].lower().split())
    if not said:
        return FORMAT_ERROR
    hit = said in {" ".join(str(a).lower().split()) for a in target["answers"]}
    return Score(float(hit), {"text": said[:200]}, "ok" if hit else "wrong")


def step(text: str, target: dict[str, Any], frame: dict[str, Any]) -> Score:
    """Step accuracy as AndroidControl counts it: same action type, and a tap inside the target's box, or the same
    text (case ignored), or the same scroll direction."""
    said, true = parse_action(text, frame), target["action"]
    if said is None:
        return FORMAT_ERROR
    hit = said["type"] == true["type"]
    if hit and true["type"] == "tap":
        hit = inside(said["point"], true["box_xyxy"], frame["file_sizes"][-1])
    elif hit and true["type"] == "type":
        hit = said["text"].lower() == true["text"].lower()
    elif hit and true["type"] == "scroll":
        hit = said["direction"] == true["direction"]
    return Score(float(hit), said, "ok" if hit else "wrong")


def none(text: str, target: dict[str, Any], frame: dict[str, Any]) -> Score:
    """Cost only."""
    return Score(None, None, "not_scored")


RULES: dict[str, Callable[[str, dict[str, Any], dict[str, Any]], Score]] = {
    "point_in_box": point_in_box,
    "exact_match": exact_match,
    "step": step,
    "none": none,
    "vlmeval": vlmeval,
}
