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

_CLICK = re.compile(r"x=([\d.]+), y=([\d.]+)")


def pointed(grammar: str, text: str, frame: Mapping[str, Any]) -> Action:
    """The place of an answer as a tap.

    Raises:
        Unreadable: there is none.
    """
    return Action("tap", point=point(grammar, text, frame))


def point(grammar: str, text: str, frame: Mapping[str, Any]) -> tuple[float, float]:
    """The place of an answer as fractions of the screen: what the family's action points at, else the first place that
    the text names (:func:`~..answers.first_point`).

    Raises:
        Unreadable: there is none.
    """
    seen = scale(frame)
    text = bounded(text)
    if grammar == "pyautogui":
        x, y = vlmeval_point(text)
        return x / seen[0], y / seen[1]
    if grammar == "seeclick":
        try:
            return seeclick.position(text)
        except Unreadable:
            pass
    elif grammar in ("ui_tars", "opencua", "qwen"):
        action = _action(grammar, text, frame)
        if action is not None and action.point is not None:
            return action.point
        if action is not None and action.kind == "type" and not action.point:
            raise Unreadable("no_point")  # numbers of a typed text are no place
    pair = first_point(text)
    if pair is None:
        raise Unreadable("no_point")
    return pair[0] / seen[0], pair[1] / seen[1]


def _action(grammar: str, text: str, frame: Mapping[str, Any]) -> Action | None:
    reader = {"ui_tars": ui_tars.action, "opencua": opencua.action, "qwen": qwen.action}[grammar]
    try:
        action = reader(text, frame)
    except Unreadable:
        return None
    return None if action.kind == "invalid" else action


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
