"""Answers to a grounding question, which asks for a place and not for an action."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..action import Action
from ..answers import first_point
from ..untrusted import Unreadable, bounded, literal, number_pair
from . import opencua, qwen, seeclick, ui_tars
from .common import scale

_N = r"-?\d{1,7}(?:\.\d{1,30})?"
_POINT_FIELD = re.compile(rf'"point(?:_2d)?"\s*:\s*\[\s*({_N})\s*,\s*({_N})')
_BOX_FIELD = re.compile(rf'"bbox(?:_2d)?"\s*:\s*\[\s*({_N})\s*,\s*({_N})\s*,\s*({_N})\s*,\s*({_N})')
_CLICK = re.compile(r"x=([\d.]+), y=([\d.]+)")


def pointed(grammar: str, text: str, frame: Mapping[str, Any]) -> Action:
    """The place of an answer as a tap.

    Raises:
        Unreadable: there is none.
    """
    return Action("tap", point=point(grammar, text, frame))


def point(grammar: str, text: str, frame: Mapping[str, Any]) -> tuple[float, float]:
    """The point of an answer as fractions of the screen.

    ``qwen``: the coordinate of the first tool call, else a ``point`` or ``point_2d`` field, else the centre of a
    ``bbox_2d`` field, else the first pair of numbers.

    Raises:
        Unreadable: there is no point.
    """
    size, seen = tuple(frame["file_sizes"][-1]), scale(frame)
    if grammar == "ui_tars":
        parsed = ui_tars.parse(text, size, model_size=seen, empty_without_action=True)
        at = first_argument(parsed[0]["action_inputs"]) if parsed else None
        if at is None:
            raise Unreadable("no_point")
        return at
    if grammar == "opencua":
        return opencua.grounding(text, size, model_size=seen)
    if grammar == "seeclick":
        return seeclick.position(text)
    if grammar == "pyautogui":
        x, y = vlmeval_point(text)
        return x / seen[0], y / seen[1]
    pair = _qwen_pair(bounded(text)) if grammar == "qwen" else first_point(bounded(text))
    if pair is None:
        raise Unreadable("no_point")
    return pair[0] / seen[0], pair[1] / seen[1]


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


def first_argument(inputs: Mapping[str, Any]) -> tuple[float, float] | None:
    """The first argument of a UI-TARS action as a point, whatever its name: a box, or a text that is a literal pair."""
    value = next(iter(inputs.values()), None)
    if isinstance(value, str):
        try:
            value = literal(value)
        except Unreadable:
            return None
    elif isinstance(value, list) and not all(map(math.isfinite, value)):
        return None  # written as nan or inf, which the reference cannot read back
    return number_pair(value)


def vlmeval_point(text: Any) -> tuple[float, float]:
    """VLMEvalKit's reading of a click: the first ``x=.., y=..`` (comma and one blank); none is the point (0, 0).

    Raises:
        Unreadable: the pattern is there, but not with numbers (two dots).
    """
    found = _CLICK.search(bounded(text))
    if not found:
        return 0.0, 0.0
    try:
        return float(found[1]), float(found[2])
    except ValueError as error:
        raise Unreadable("not_a_number") from error
