"""AITW's annotations in common form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..action import Action
from ..grammars.seeclick import BUTTON_IDS
from ..untrusted import NoCounterpart
from . import rule

Truth = Mapping[str, Any]
BUTTONS = {i: word for word, i in BUTTON_IDS.items()}


def in_fractions(truth: Truth, size: Sequence[int]) -> Truth:
    """The same annotation with boxes as fractions of a screen of ``size`` (width, height)."""
    if not truth.get("boxes_in_pixels"):
        return truth
    flat = [v / size[1 - i % 2] for i, v in enumerate(truth["annot_position"])]  # y, x, height, width
    return {**truth, "annot_position": flat}


def annotated(truth: Truth) -> Action:
    """An AITW annotation in common form.

    Raises:
        Unreadable: an action id that the data set does not define.
    """
    kind = truth["action_type_id"]
    if kind == rule.DUAL_POINT:
        x, y = truth["touch"]
        if truth["action_type_text"] == "click":
            return Action("tap", point=(x, y))
        return Action(
            "swipe", point=(x, y), end=tuple(truth["lift"]), direction=truth["action_type_text"].removeprefix("scroll ")
        )
    if kind == rule.TYPE:
        return Action("type", text=truth["type_text"])
    if kind in BUTTONS:
        return Action("button", text=BUTTONS[kind])
    if kind in (10, 11):
        return Action("finish", status="success" if kind == 10 else "impossible")
    raise NoCounterpart("annotation_unknown")
