"""SeeClick: Python dictionaries for actions, ``(x,y)`` or ``<box>`` for positions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..action import Action, button, content_direction, invalid, phone_word
from ..untrusted import NoCounterpart, Unreadable, bounded, literal
from .common import scaled

# AITW's ids; scroll words name the content.
SCROLL_IDS = {"down": 0, "up": 1, "left": 8, "right": 9}
BUTTON_IDS = {"back": 5, "home": 6, "enter": 7}
_SCROLLS = {i: word for word, i in SCROLL_IDS.items()}
_BUTTONS = {i: word for word, i in BUTTON_IDS.items()}
_BOX = re.compile(r"<box>\((\d{1,300}),(\d{1,300})\),\((\d{1,300}),(\d{1,300})\)</box>")
_NUMBER = re.compile(r"-?\d+\.?\d*")


def dictionary(text: Any) -> dict[Any, Any]:
    """The dictionary of an answer such as ``{"action_type": 4, "click_point": (0.49,0.40)}``.

    Raises:
        Unreadable: the whole answer is no literal dictionary with an ``action_type``.
    """
    value = literal(text)
    if not isinstance(value, dict):
        raise Unreadable("not_a_dictionary", "TypeError")
    if "action_type" not in value:
        raise Unreadable("no_action_type", "KeyError")
    return value


def position(text: Any) -> tuple[float, float]:
    """The point of a grounding answer, in whatever frame the model wrote it.

    If the three letters ``box`` occur, the centre of the first ``<box>`` with whole numbers, read as thousandths. Else
    all numbers of the text: two are a point, four give the centre of two corners. The pattern wants a digit first:
    ``.2`` is 2, ``2e-1`` is two numbers.

    Raises:
        Unreadable: any other form.
    """
    text = bounded(text)
    if "box" in text:
        box = _BOX.search(text)
        if not box:
            raise Unreadable("no_box", "IndexError")
        x1, y1, x2, y2 = (int(v) for v in box.groups())
        return (x1 + x2) / 2 / 1000, (y1 + y2) / 2 / 1000
    numbers = [float(n) for n in _NUMBER.findall(text)]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    if len(numbers) == 4:
        return (numbers[0] + numbers[2]) / 2, (numbers[1] + numbers[3]) / 2
    raise Unreadable("wrong_count_of_numbers", "UnboundLocalError")


def action(text: str, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer in common form."""
    said = dictionary(text)
    kind = said["action_type"]
    if isinstance(kind, bool) or not isinstance(kind, int):
        return invalid("action_type_not_a_number")
    if kind == 4:
        return Action("tap", point=scaled(said.get("click_point"), frame))
    if kind in (2, 3):  # 2 is Mind2Web's select; there every action has a point
        at = scaled(said["click_point"], frame) if "click_point" in said else None
        return Action(
            "type" if kind == 3 else "select", point=at, text=str(said.get("typed_text", said.get("value", "")))
        )
    if kind in _SCROLLS:
        return Action("scroll", direction=_SCROLLS[kind])
    if kind in _BUTTONS:
        return Action("button", text=_BUTTONS[kind])
    statuses = {10: "success", 11: "impossible"}
    return Action("finish", status=statuses[kind]) if kind in statuses else invalid("unknown_action")


def aitw_id(action: Action) -> int:
    """AITW's id of an action without a place.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word == "type":
        return 3
    if word == "button" and button(action) in BUTTON_IDS:
        return BUTTON_IDS[button(action)]
    if word == "finish":
        return 10 if action.status == "success" else 11
    raise NoCounterpart


def phone_dictionary(action: Action, *, finger_words: bool = False) -> dict[Any, Any]:
    """SeeClick's dictionary of a phone action, AITW's ids; points as fractions.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        return {"action_type": 4, "click_point": action.point}
    if word == "scroll":
        return {"action_type": SCROLL_IDS[content_direction(action, finger_words=finger_words)]}
    if word == "type":
        return {"action_type": 3, "typed_text": action.text}
    return {"action_type": aitw_id(action)}


def web_dictionary(action: Action) -> dict[Any, Any]:
    """SeeClick's dictionary for Mind2Web: ids 4, 3, 2, a point in each, ``value`` to type or select.

    Raises:
        Unreadable: no counterpart, or no point.
    """
    if action.kind not in ("tap", "type", "select"):
        raise NoCounterpart
    if action.point is None:
        raise Unreadable("no_point")
    said: dict[Any, Any] = {"action_type": {"tap": 4, "type": 3, "select": 2}[action.kind], "click_point": action.point}
    return said if action.kind == "tap" else {**said, "value": action.text}


def written(said: Mapping[Any, Any], decimals: int) -> str:
    """A dictionary as SeeClick writes it, for earlier steps in a prompt."""
    words = [
        f'"{key}": ({value[0]:.{decimals}f},{value[1]:.{decimals}f})' if key == "click_point" else f'"{key}": {value!r}'
        for key, value in said.items()
    ]
    return "{" + ", ".join(words) + "}"
