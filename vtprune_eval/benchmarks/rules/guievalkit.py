"""Xiaomi's GUIEvalKit: its rule for AndroidControl and its ``common`` rule for other phone sets (AiTZ, GUI-Odyssey).

Predictions are dictionaries of the unified action format in thousandths, checked against its schema; predictions that
break the schema leave the reference's denominators, here they are wrong and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...json_values import JsonObject
from ...sample import Score, graded, unreadable
from ..action import OPPOSITE, Action, button, content_direction, phone_word, thousandths
from ..benchmark import Frame, Rule, Truth, measured, refused_step
from ..untrusted import NoCounterpart, json_value
from .distance import indel_ratio

TAP_DISTANCE = {"androidcontrol": 0.04, "common": 0.14}
SWIPE_DISTANCE = 0.04
NEAREST_BOXES = 5
DEFAULT_DURATION_MS = 200
GROWTH = 1.2
# Longer than the 200 ms that are a tap.
LONG_PRESS_MS = 1_000
STOPS = ("finish", "satisfied", "impossible", "interrupt", "need_feedback")
DIRECTIONS = ("up", "down", "left", "right")
_EXCLUSIVE = ("POINT", "PRESS", "TYPE", "DEEP_LINK", "CLEAR", "INPUT")
_ACTING = (*_EXCLUSIVE, "duration", "OPEN_APP")
_KNOWN = {*_ACTING, "thought", "to", "STATUS"}
_BUTTONS = {5: "back", 6: "home", 7: "enter"}


def valid(prediction: Any) -> bool:
    """Does a prediction satisfy the schema (guieval/utils/schema/schema_for_extraction.json)?"""
    if not isinstance(prediction, dict) or not set(prediction) <= _KNOWN:
        return False
    for key, check in _CHECKS.items():
        if key in prediction and not check(prediction[key]):
            return False
    if "to" in prediction and "POINT" not in prediction:
        return False
    if prediction.get("STATUS", "continue") in ("continue", "start") and not any(k in prediction for k in _ACTING):
        return False
    return sum(k in prediction for k in _EXCLUSIVE) <= 1


def step(prediction: Any, truth: Mapping[str, Any], *, rule: str = "androidcontrol") -> Score:
    """One step, against an annotation in the project's own fields.

    Args:
        prediction: dictionary of the unified format.
        truth: ``result_action_type`` (AITW ids, 0 long press, 1 none, 12 open app), ``result_touch_yx`` and
            ``result_lift_yx`` (JSON text, y first, fractions), ``result_action_text``, ``result_action_app_name``,
            ``ui_positions`` (JSON text, y, x, height, width, fractions).
        rule: ``androidcontrol`` or ``common``.
    """
    return compare(prediction, annotated(truth), rule)


def compare(prediction: Any, true: Mapping[str, Any], rule: str) -> Score:
    """One step.

    Args:
        prediction: dictionary of the unified format.
        true: ``type``, and what belongs to it (``point``, ``boxes``, ``value``, ``text``): from :func:`annotated` or
            :func:`annotated_action`.
        rule: ``androidcontrol`` or ``common``.

    Returns:
        ``parts``: ``valid``, ``type_match``, ``exact_match``, ``pred_type``, ``gt_type``, ``text_ratio``.
    """
    parts = {"valid": False, "type_match": False, "exact_match": False, "pred_type": None, "gt_type": true["type"]}
    if not valid(prediction):
        return unreadable("schema", {**parts, "text_ratio": None})
    said = _predicted(prediction)
    if said["type"] == "input_text" and true["type"] in ("click", "type"):
        said["type"] = true["type"]
    same, exact, ratio = said["type"] == true["type"], False, None
    if same:
        kind = said["type"]
        if kind in ("click", "long_point"):
            exact = _hit(said["point"], true["point"], true["boxes"], rule)
        elif kind in ("type", "open"):
            a, b = said["text"].lower().strip(), (true["text"] or "").lower().strip()
            exact, ratio = a in b or b in a, indel_ratio(a, b)
        else:
            exact = kind in ("stop", "wait") or said["value"] == true["value"]
    parts |= {"valid": True, "type_match": same, "exact_match": exact, "pred_type": said["type"], "text_ratio": ratio}
    return graded(exact, parts)


def rule(true: Callable[[Truth, Frame], Mapping[str, Any]], name: str, finger_grammars: Sequence[str] = ()) -> Rule:
    """The protocol of a benchmark.

    Args:
        true: its annotation in the form of :func:`annotated_action`.
        name: ``androidcontrol`` or ``common``.
        finger_grammars: grammars whose scroll words name the finger on this benchmark.
    """

    def score(said: Any, truth: Truth, frame: Frame) -> Score:
        found = compare(said, true(truth, frame), name)
        same, kind = found.parts["type_match"], found.parts["gt_type"]
        return measured(found, same, found.value if same and kind in ("click", "long_point") else None)

    return Rule(
        score,
        enter=lambda action, grammar, frame: unified(action, finger_words=grammar in finger_grammars),
        readers={"unified": lambda text, frame: json_value(text)},
        refused=refused_step,
    )


def unified(action: Action, *, finger_words: bool = False) -> JsonObject:
    """GUIEvalKit's dictionary; integers in thousandths, directions of the finger.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        at = {"POINT": [thousandths(v) for v in action.point]}
        return at if word == "tap" else {**at, "duration": LONG_PRESS_MS}
    if word == "scroll":
        start = action.point or (0.5, 0.5)
        return {
            "POINT": [thousandths(v) for v in start],
            "to": OPPOSITE[content_direction(action, finger_words=finger_words)],
        }
    if word == "button":
        names = {"back": "BACK", "home": "HOME", "enter": "ENTER", "recent": "APPSELECT"}
        if button(action) in names:
            return {"PRESS": names[button(action)]}
    simple: dict[str, JsonObject] = {
        "type": {"TYPE": action.text},
        "open": {"OPEN_APP": action.text},
        "wait": {"duration": LONG_PRESS_MS},
        "finish": {"STATUS": "finish" if action.status == "success" else "impossible"},
    }
    if word not in simple:
        raise NoCounterpart
    return simple[word]


def annotated_action(
    action: Action, boxes_yxhw: Sequence[Sequence[float]], *, finger_words: bool = False
) -> JsonObject:
    """An annotated action as :func:`annotated` gives it.

    Args:
        action: the annotation in common form.
        boxes_yxhw: (n, 4) boxes y, x, height, width as fractions.
        finger_words: direction words of ``action`` name the finger.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        return {"type": "click" if word == "tap" else "long_point", "point": action.point, "boxes": boxes_yxhw}
    if word == "scroll":
        return {"type": "scroll", "value": OPPOSITE[content_direction(action, finger_words=finger_words)]}
    if word in ("type", "open"):
        return {"type": word, "text": action.text}
    if word == "button":  # the overview button is taken for HOME there
        name = button(action)
        return {"type": "press", "value": name if name in ("back", "enter") else "home"}
    if word in ("wait", "finish"):
        return {"type": "wait" if word == "wait" else "stop"}
    raise NoCounterpart


def report(rows: Sequence[tuple[str, Score]]) -> JsonObject:
    """Type and exact accuracy over all steps and without ``open`` steps, per annotated type, and episode success.

    Args:
        rows: (episode, score of ``step``). ``valid_share`` tells how many the reference would have left out.
    """
    episodes: dict[str, bool] = {}
    by_type: dict[str, list[float]] = {}
    for episode, score in rows:
        episodes[episode] = episodes.get(episode, True) and score.value == 1
        by_type.setdefault(score.parts["gt_type"], []).append(score.value or 0.0)
    details = [s.parts for _, s in rows]
    headline = [d for d in details if d["gt_type"] != "open"]

    def share(of: Sequence[Mapping[str, Any]], key: str) -> float | None:
        return sum(bool(d[key]) for d in of) / len(of) if of else None

    return {
        "n": len(rows),
        "type_accuracy": share(details, "type_match"),
        "exact_accuracy": share(details, "exact_match"),
        "type_accuracy_without_open": share(headline, "type_match"),
        "exact_accuracy_without_open": share(headline, "exact_match"),
        "valid_share": share(details, "valid"),
        "episode_success": sum(episodes.values()) / len(episodes) if episodes else None,
        "by_action_type": {k: {"n": len(v), "accuracy": sum(v) / len(v)} for k, v in sorted(by_type.items())},
    }


def direction(start: Sequence[float], end: Sequence[float]) -> str:
    """The nearest of four directions of the finger; the vertical one on a tie."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    if dx == 0 and dy == 0:
        return "no direction"
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _hit(said: Sequence[float], true: Sequence[float], boxes: Sequence[Sequence[float]], rule: str) -> bool:
    grown = [_grow(box) for box in boxes]
    if rule == "common":
        chosen = [box for box in grown if _inside(true, box)]
    elif grown:
        array = np.asarray(grown, dtype=np.float64)
        squared = (array[:, 0] + array[:, 2] / 2 - true[1]) ** 2 + (array[:, 1] + array[:, 3] / 2 - true[0]) ** 2
        chosen = array[np.argsort(squared)[:NEAREST_BOXES]].tolist()
    else:
        chosen = []
    if any(_inside(said, box) for box in chosen):
        return True
    return bool(np.linalg.norm(np.array(true) - np.array(said)) <= TAP_DISTANCE[rule])


def _grow(box: Sequence[float]) -> tuple[float, float, float, float]:
    y, x, h, w = box
    more_h, more_w = (GROWTH - 1) * h, (GROWTH - 1) * w
    return max(0, y - more_h / 2), max(0, x - more_w / 2), min(1, h + more_h), min(1, w + more_w)


def _inside(point_xy: Sequence[float], box_yxhw: Sequence[float]) -> bool:
    y, x, h, w = box_yxhw
    return y <= point_xy[1] <= y + h and x <= point_xy[0] <= x + w


def _predicted(p: Mapping[str, Any]) -> JsonObject:
    duration = p.get("duration", DEFAULT_DURATION_MS)
    if p.get("STATUS", "continue") in STOPS:
        return {"type": "stop"}
    if "INPUT" in p:
        return {"type": "input_text", "text": p["INPUT"]["text"], "point": _fractions(p["INPUT"]["point"])}
    if "TYPE" in p:
        return {"type": "type", "text": p["TYPE"]}
    if "OPEN_APP" in p:
        return {"type": "open", "text": p["OPEN_APP"]}
    if "POINT" in p and duration == DEFAULT_DURATION_MS:
        if "to" not in p:
            return {"type": "click", "point": _fractions(p["POINT"])}
        to = p["to"]
        return {"type": "scroll", "value": to if isinstance(to, str) else direction(p["POINT"], to)}
    if "POINT" in p and duration > DEFAULT_DURATION_MS:
        return {"type": "long_point", "point": _fractions(p["POINT"])}
    if "PRESS" in p:
        return {"type": "press", "value": p["PRESS"].lower()}
    # A duration is always present (its default), so everything else is a wait: a short press, CLEAR, DEEP_LINK.
    return {"type": "wait"}


def annotated(truth: Mapping[str, Any]) -> JsonObject:
    """An annotation in the project's fields, understood.

    Raises:
        ValueError: an action type that the data do not define.
    """
    kind = truth["result_action_type"]
    if kind in (0, 4):
        touch = json.loads(truth["result_touch_yx"])
        lift = json.loads(truth["result_lift_yx"])
        start, end = (touch[1], touch[0]), (lift[1], lift[0])
        if kind == 4 and not np.linalg.norm(np.array(touch) - np.array(lift)) <= SWIPE_DISTANCE:
            return {"type": "scroll", "value": direction(start, end)}
        stored = truth.get("ui_positions") or truth.get("bbox") or "[]"
        boxes = json.loads(stored) if isinstance(stored, str) else stored
        if boxes and not isinstance(boxes[0], list):
            boxes = [boxes]
        return {"type": "click" if kind == 4 else "long_point", "point": start, "boxes": boxes}
    if kind == 3:
        return {"type": "type", "text": truth["result_action_text"]}
    if kind in _BUTTONS:
        return {"type": "press", "value": _BUTTONS[kind]}
    if kind in (10, 11):
        return {"type": "stop"}
    if kind == 1:
        return {"type": "wait"}
    if kind == 12:
        return {"type": "open", "text": truth["result_action_app_name"]}
    raise ValueError(f"annotated action type {kind!r} is unknown; expected 0, 1, 3 to 7, 10 to 12")


def _fractions(point: Sequence[float]) -> tuple[float, float]:
    return point[0] / 1000, point[1] / 1000


def _integer(value: Any, low: int, high: float) -> bool:
    """A JSON-schema integer: 500 and 500.0, not 500.5, not true."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return low <= value <= high and float(value).is_integer() if abs(value) < 1e15 else False


def _location(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_integer(v, 0, 1000) for v in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS: JsonObject = {
    "thought": _text,
    "OPEN_APP": _text,
    "TYPE": _text,
    "POINT": _location,
    "to": lambda v: (isinstance(v, str) and v in DIRECTIONS) or _location(v),
    "duration": lambda v: _integer(v, 0, float("inf")),
    "PRESS": lambda v: isinstance(v, str) and v in ("HOME", "BACK", "ENTER", "APPSELECT"),
    "DEEP_LINK": lambda v: v is None,
    "CLEAR": lambda v: v is None,
    "INPUT": lambda v: (
        isinstance(v, dict) and set(v) == {"point", "text"} and _location(v["point"]) and _text(v["text"])
    ),
    "STATUS": lambda v: isinstance(v, str) and v in ("continue", "start", *STOPS),
}
