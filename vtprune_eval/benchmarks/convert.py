"""An action in the form that a protocol's own rule reads.

Every published rule starts from the text of one family of models. A model of another family is scored by the same rule
on a translation of what it said; an action that the rule's language cannot express is refused with ``no_counterpart``.
Words for scrolling mean the content in some languages and the finger in others (tasks' page "model_io", section 7);
``content_direction`` is the one place that knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .grammars import Action
from .untrusted import Unreadable

OPPOSITE = {"up": "down", "down": "up", "left": "right", "right": "left"}
_SCROLL_IDS = {"down": 0, "up": 1, "left": 8, "right": 9}
_BUTTON_IDS = {"back": 5, "home": 6, "enter": 7}
_TAPS = ("tap", "double_tap", "right_tap", "triple_tap", "move")
# Longer than the 200 ms that GUIEvalKit takes for a tap.
LONG_PRESS_MS = 1_000


def no_counterpart() -> Unreadable:
    """The rule's language has no word for this action."""
    return Unreadable("no_counterpart", "")


def content_direction(action: Action, *, finger_words: bool = False) -> str:
    """Which content a scroll or swipe brings up: ``up``, ``down``, ``left`` or ``right``.

    Args:
        action: a scroll, or a swipe or drag with both ends.
        finger_words: the model's scroll words name the finger's movement (GUI-Odyssey).

    Raises:
        Unreadable: no direction.
    """
    if action.kind == "scroll":
        if action.direction not in OPPOSITE:
            raise Unreadable("no_direction")
        return OPPOSITE[action.direction] if finger_words else action.direction
    if action.point is None or action.end is None:
        raise Unreadable("no_direction")
    dx, dy = action.end[0] - action.point[0], action.end[1] - action.point[1]
    if abs(dx) > abs(dy):
        return "left" if dx > 0 else "right"
    return "up" if dy > 0 else "down"


def phone_word(action: Action) -> str:
    """The kind of a phone action after everything that phones do not tell apart is merged: ``tap``, ``long_press``,
    ``scroll``, ``type``, ``button``, ``open``, ``wait``, ``finish``; other kinds unchanged."""
    if action.kind in _TAPS:
        return "tap"
    if action.kind in ("swipe", "drag"):
        return "scroll"
    if action.kind == "key" and tuple(k.lower() for k in action.keys) in (("enter",), ("return",)):
        return "button"
    return action.kind


def button(action: Action) -> str:
    """Name of a pressed button; the Enter key is one."""
    return "enter" if action.kind == "key" else action.text


def aitw_id(action: Action) -> int:
    """AITW's id of an action without a place.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word == "type":
        return 3
    if word == "button" and button(action) in _BUTTON_IDS:
        return _BUTTON_IDS[button(action)]
    if word == "finish":
        return 10 if action.status == "success" else 11
    raise no_counterpart()


def seeclick(action: Action, *, decimals: int = 6, finger_words: bool = False) -> str:
    """SeeClick's dictionary, AITW's ids; points as fractions.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        x, y = action.point
        return f'{{"action_type": 4, "click_point": ({x:.{decimals}f},{y:.{decimals}f})}}'
    if word == "scroll":
        return f'{{"action_type": {_SCROLL_IDS[content_direction(action, finger_words=finger_words)]}}}'
    if word == "type":
        return f'{{"action_type": 3, "typed_text": {action.text!r}}}'
    return f'{{"action_type": {aitw_id(action)}}}'


def seeclick_web(action: Action) -> str:
    """SeeClick's dictionary for Mind2Web: ids 4, 3, 2, a point in each, ``value`` to type or select.

    Raises:
        Unreadable: no counterpart.
    """
    if action.kind not in ("tap", "type", "select"):
        raise no_counterpart()
    if action.point is None:
        raise Unreadable("no_point")
    kind = {"tap": 4, "type": 3, "select": 2}[action.kind]
    head = f'{{"action_type": {kind}, "click_point": ({action.point[0]:.6f},{action.point[1]:.6f})'
    return head + ("}" if action.kind == "tap" else f', "value": {action.text!r}}}')


def unified(action: Action, *, finger_words: bool = False) -> dict[str, Any]:
    """GUIEvalKit's dictionary; integers in thousandths, directions of the finger.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        at = {"POINT": [_thousandths(v) for v in action.point]}
        return at if word == "tap" else {**at, "duration": LONG_PRESS_MS}
    if word == "scroll":
        start = action.point or (0.5, 0.5)
        return {
            "POINT": [_thousandths(v) for v in start],
            "to": OPPOSITE[content_direction(action, finger_words=finger_words)],
        }
    if word == "button":
        names = {"back": "BACK", "home": "HOME", "enter": "ENTER", "recent": "APPSELECT"}
        if button(action) in names:
            return {"PRESS": names[button(action)]}
    simple: dict[str, dict[str, Any]] = {
        "type": {"TYPE": action.text},
        "open": {"OPEN_APP": action.text},
        "wait": {"duration": LONG_PRESS_MS},
        "finish": {"STATUS": "finish" if action.status == "success" else "impossible"},
    }
    if word not in simple:
        raise no_counterpart()
    return simple[word]


def osatlas(action: Action) -> str:
    """OS-Atlas's action line without the heading; scroll words name the content, as in AndroidControl.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        x, y = (_thousandths(v) for v in action.point)
        return f"{'CLICK' if word == 'tap' else 'LONG_PRESS'} <point>[[{x},{y}]]</point>"
    if word == "scroll":
        return f"SCROLL [{content_direction(action).upper()}]"
    if word == "button":
        return "ENTER" if button(action) == "enter" else f"PRESS_{button(action).upper()}"
    if word in ("type", "open"):
        return f"{'TYPE' if word == 'type' else 'OPEN_APP'} [{action.text}]"
    simple = {"wait": "WAIT", "finish": "COMPLETE" if action.status == "success" else "IMPOSSIBLE"}
    if word not in simple:
        raise no_counterpart()
    return simple[word]


def odyssey(action: Action, *, finger_words: bool = False) -> str:
    """GUI-Odyssey's answer string; thousandths, directions of the finger.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        x, y = action.point
        return f"{'CLICK' if word == 'tap' else 'LONG_PRESS'}: ({1000 * x:.3f}, {1000 * y:.3f})"
    if word == "scroll":
        return f"SCROLL: {OPPOSITE[content_direction(action, finger_words=finger_words)].upper()}"
    if word == "button" and button(action) in ("back", "home", "recent"):
        return f"PRESS_{button(action).upper()}"
    simple = {"type": f"TYPE: {action.text}", "finish": "COMPLETE" if action.status == "success" else "IMPOSSIBLE"}
    if word not in simple:
        raise no_counterpart()
    return simple[word]


def simpagent(action: Action, *, finger_words: bool = False) -> str:
    """SimpAgent's JSON dictionary; points in thousandths. Ids are AITW's; kinds without one are written as words, which
    is our choice and concerns nobody else, because both sides are written by this function.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    out: dict[str, Any]
    if word in ("tap", "long_press") and action.point:
        out = {
            "action_type": 4 if word == "tap" else "long_press",
            "click_point": [_thousandths(v) for v in action.point],
        }
    elif word == "scroll":
        out = {"action_type": _SCROLL_IDS[content_direction(action, finger_words=finger_words)]}
    elif word == "type":
        out = {"action_type": 3, "typed_text": action.text}
    elif word == "button":
        out = {"action_type": _BUTTON_IDS.get(button(action), f"press_{button(action)}")}
    elif word == "open":
        out = {"action_type": "open_app", "app_name": action.text}
    elif word in ("wait", "finish"):
        out = {"action_type": "wait" if word == "wait" else 10 if action.status == "success" else 11}
    else:
        raise no_counterpart()
    return json.dumps(out)


def guikv_phone(action: Action) -> dict[str, Any]:
    """What GUI-KV's script would have understood (``androidcontrol.understand``).

    Raises:
        Unreadable: no counterpart.
    """
    out: dict[str, Any] = {"operation": "", "click_point": None, "direction": "", "content": "", "reason": ""}
    word = phone_word(action)
    if word in ("tap", "long_press"):
        return {**out, "operation": "click" if word == "tap" else word, "click_point": action.point}
    if word == "type":
        return {**out, "operation": "type", "click_point": action.point, "content": action.text}
    if word == "scroll":
        return {**out, "operation": "scroll", "direction": content_direction(action)}
    if word == "open":
        return {**out, "operation": "open_app", "content": action.text}
    if word == "button" and button(action) in ("back", "home"):
        return {**out, "operation": f"navigate_{button(action)}" if button(action) == "home" else "press_back"}
    if word == "wait":
        return {**out, "operation": "wait"}
    if word == "finish":
        return {**out, "operation": "finished", "content": "successful" if action.status == "success" else "infeasible"}
    raise no_counterpart()


def pairs(action: Action) -> list[tuple[str, Any]]:
    """AgentNetBench's list of (type, value); a scroll or drag gets the ``moveTo`` that its annotation has.

    Raises:
        Unreadable: no counterpart.
    """
    names = {
        "tap": "click",
        "long_press": "click",
        "double_tap": "doubleClick",
        "right_tap": "rightClick",
        "triple_tap": "tripleClick",
        "move": "moveTo",
    }
    if action.kind in names and action.point:
        return [(names[action.kind], action.point)]
    if action.kind in ("drag", "swipe") and action.end:
        start: list[tuple[str, Any]] = [("moveTo", action.point)] if action.point else []
        return [*start, ("dragTo", action.end)]
    if action.kind == "scroll":
        amount = action.amount if action.amount is not None else 5 if action.direction in ("up", "right") else -5
        return [("moveTo", action.point or (0.5, 0.5)), ("scroll", amount)]
    if action.kind == "type":
        return [("write", action.text)]
    if action.kind in ("key", "hotkey"):
        return [("press" if action.kind == "key" else "hotkey", list(action.keys))]
    if action.kind == "button":
        return [("press", ["escape" if action.text == "back" else action.text])]
    if action.kind == "finish":
        return [("terminate", "success" if action.status == "success" else "failure")]
    raise no_counterpart()


def result_fields(action: Action, boxes_yxhw: Any, *, finger_words: bool = False) -> Mapping[str, Any]:
    """An annotated action as GUIEvalKit stores it.

    Args:
        action: the annotation in common form.
        boxes_yxhw: (n, 4) boxes y, x, height, width as fractions.
        finger_words: direction words of ``action`` name the finger.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    out: dict[str, Any] = {"result_action_text": "", "result_action_app_name": "", "ui_positions": boxes_yxhw}
    if word in ("tap", "long_press") and action.point:
        at = json.dumps([action.point[1], action.point[0]])
        return {**out, "result_action_type": 4 if word == "tap" else 0, "result_touch_yx": at, "result_lift_yx": at}
    if word == "scroll":
        finger = OPPOSITE[content_direction(action, finger_words=finger_words)]
        dy, dx = {"up": (-0.3, 0), "down": (0.3, 0), "left": (0, -0.3), "right": (0, 0.3)}[finger]
        return {
            **out,
            "result_action_type": 4,
            "result_touch_yx": "[0.5, 0.5]",
            "result_lift_yx": json.dumps([0.5 + dy, 0.5 + dx]),
        }
    if word == "type":
        return {**out, "result_action_type": 3, "result_action_text": action.text}
    if word == "open":
        return {**out, "result_action_type": 12, "result_action_app_name": action.text}
    if word == "button":
        # The overview button is taken for HOME there.
        return {**out, "result_action_type": _BUTTON_IDS.get(button(action), 6)}
    kinds = {"wait": 1, "finish": 10 if action.status == "success" else 11}
    if word not in kinds:
        raise no_counterpart()
    return {**out, "result_action_type": kinds[word]}


def _thousandths(fraction: float) -> int:
    return round(max(-1e9, min(1e9, 1000 * fraction)))  # far outside stays outside, and stays a number
