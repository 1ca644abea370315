"""Grounding: ScreenSpot v1, v2, Pro, OSWorld-G, UI-Vision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..answers import first_point
from ..grammars import opencua, qwen, seeclick, ui_tars
from ..protocols import osworld_g as osworld_rule
from ..protocols import screenspot as ss
from ..protocols import ui_vision as vision_rule
from ..protocols.androidcontrol import first_point as first_argument
from ..protocols.geometry import as_corners
from ..untrusted import Unreadable, bounded, number_pair
from ..verdict import Verdict
from .phone import _scale

Truth = Mapping[str, Any]
Frame = Mapping[str, Any]
_N = r"-?\d{1,7}(?:\.\d{1,30})?"
_POINT_FIELD = re.compile(rf'"point(?:_2d)?"\s*:\s*\[\s*({_N})\s*,\s*({_N})')
_BOX_FIELD = re.compile(rf'"bbox(?:_2d)?"\s*:\s*\[\s*({_N})\s*,\s*({_N})\s*,\s*({_N})\s*,\s*({_N})')


def point(grammar: str, text: str, frame: Frame) -> tuple[float, float]:
    """The point of an answer as fractions of the screen.

    ``qwen``: the coordinate of the first tool call, else a ``point`` or ``point_2d`` field, else the centre of a
    ``bbox_2d`` field, else the first pair of numbers.

    Raises:
        Unreadable: there is no point.
    """
    size, scale = tuple(frame["file_sizes"][-1]), _scale(grammar, frame)
    if grammar == "ui_tars":
        parsed = ui_tars.parse(text, size, model_size=scale, empty_without_action=True)
        at = first_argument(parsed[0]["action_inputs"]) if parsed else None
        if at is None:
            raise Unreadable("no_point")
        return at
    if grammar == "opencua":
        return opencua.grounding(text, size, model_size=scale)
    if grammar == "seeclick":
        return seeclick.position(text)
    if grammar == "pyautogui":
        x, y = ss.vlmeval_point(text)
        return x / scale[0], y / scale[1]
    pair = _qwen_pair(bounded(text)) if grammar == "qwen" else first_point(bounded(text))
    if pair is None:
        raise Unreadable("no_point")
    return pair[0] / scale[0], pair[1] / scale[1]


def _qwen_pair(text: str) -> tuple[float, float] | None:
    for call in qwen.tool_calls(text):
        pair = number_pair(call["arguments"].get("coordinate"))
        if pair:
            return pair
    found = _POINT_FIELD.search(text)
    if found:
        return float(found[1]), float(found[2])
    found = _BOX_FIELD.search(text)
    if found:
        return (float(found[1]) + float(found[3])) / 2, (float(found[2]) + float(found[4])) / 2
    return first_point(text)


def screenspot(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """v1 and v2. ``truth``: ``box_xywh`` in pixels of the file."""
    size, box = tuple(frame["file_sizes"][-1]), truth["box_xywh"]
    if protocol == "vlmeval":
        return ss.vlmeval(_pyautogui(grammar, text, frame), box, size)
    if grammar == "seeclick":
        return ss.seeclick(text, box, size)
    if grammar in ("ui_tars", "opencua"):
        return ss.guikv(text, box, size, model=grammar, model_size=_scale(grammar, frame))
    try:
        return _renamed(ss.pro(point(grammar, text, frame), as_corners(box), size))
    except Unreadable as error:
        return Verdict(0.0, error.reason, {"correct": 0, "wrong_format": 1, "point": None})


def _renamed(verdict: Verdict) -> Verdict:
    """Pro's test of a point without its word: the test is the same in v1 and v2."""
    detail = {k: v for k, v in verdict.detail.items() if k != "correctness"}
    return Verdict(verdict.score, verdict.reason, detail)


def pro(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """ScreenSpot-Pro. ``truth``: ``corners`` in pixels and ``image_size``."""
    if protocol == "vlmeval":
        return ss.vlmeval(_pyautogui(grammar, text, frame), truth["corners"], truth["image_size"], version="pro")
    try:
        at: tuple[float, float] | None = point(grammar, text, frame)
        reason = ""
    except Unreadable as error:
        at, reason = None, error.reason
    verdict = ss.pro(at, truth["corners"], truth["image_size"])
    if at is None and protocol == "guikv":  # GUI-KV does not tell unreadable from wrong
        verdict = Verdict(0.0, reason, {**verdict.detail, "correctness": "wrong"})
    return verdict if not reason else Verdict(0.0, reason, verdict.detail)


def osworld_g(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """OSWorld-G. ``truth``: ``box_type``, ``box_coordinates``, ``image_size``."""
    if protocol == "vlmeval":
        return osworld_rule.vlmeval(_pyautogui(grammar, text, frame, (1000, 1000)), truth)
    kind = str(truth.get("box_type", "")).lower()
    if protocol == "official" and grammar == "lmms":
        return osworld_rule.official(text, truth)
    try:
        at = point(grammar, text, frame)
    except Unreadable as error:
        return Verdict(0.0, error.reason, {"correct": False, "box_type": kind, "parsed": None})
    if protocol == "focusui":
        return osworld_rule.focusui(at, truth)
    # In pixels of the file: a fraction outside [0, 1] would be taken for pixels, and (1, 1) for a fraction.
    width, height = truth["image_size"]
    x, y = at[0] * width, at[1] * height
    if 0 <= x <= 1 and 0 <= y <= 1:
        return osworld_rule.official(f"[{at[0]:.9f}, {at[1]:.9f}]", truth)
    return osworld_rule.official(f"[{x:.6f}, {y:.6f}]", truth)


def ui_vision(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """UI-Vision, elements. ``truth``: ``corners`` in pixels and ``image_size``."""
    try:
        return vision_rule.element(point(grammar, text, frame), truth["corners"], truth["image_size"])
    except Unreadable as error:
        return Verdict(0.0, error.reason, {"correctness": "wrong_format"})


def _pyautogui(grammar: str, text: str, frame: Frame, unit: tuple[int, int] | None = None) -> str:
    """VLMEvalKit's own prompt gives its own grammar, read as it is; a point of another one is written in it, in
    ``unit`` to a side: by default pixels of the file, so that its test for fractions never sees a fraction."""
    if grammar == "pyautogui":
        return text
    try:
        x, y = point(grammar, text, frame)
    except Unreadable:
        return ""
    width, height = unit or frame["file_sizes"][-1]
    return f"x={max(0.0, x * width):.6f}, y={max(0.0, y * height):.6f}"
