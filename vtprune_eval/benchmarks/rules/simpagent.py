"""SimpAgent's rule (Odssey_sum.py, AndroidControl_sum.py): JSON dictionaries, only the prediction's keys compared."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ...json_values import JsonObject
from ...sample import Score, graded, unreadable, wrong
from ..action import Action, button, content_direction, phone_word, thousandths
from ..benchmark import Frame, Rule, Truth, measured, refused_step
from ..grammars.seeclick import BUTTON_IDS, SCROLL_IDS
from ..untrusted import NoCounterpart, Unreadable, bounded, json_value, number_pair
from .osatlas import TEXT_SIMILARITY, plain_f1

_TUPLE_POINT = re.compile(r'"click_point":\s*\((\d+),\s*(\d+)\)')
_QUOTED_POINT = re.compile(r'"click_point":\s*"\((\d+),\s*(\d+)\)"')


def read(text: Any) -> Any:
    """The JSON value of an answer.

    Raises:
        Unreadable: no JSON.
    """
    return json_value(_listed(bounded(text)))


def dictionary(action: Action, *, finger_words: bool = False) -> JsonObject:
    """SimpAgent's dictionary; points in thousandths. Ids are AITW's; kinds without one are written as words, which is
    our choice and concerns nobody else, because both sides are made by this function.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        kind = 4 if word == "tap" else "long_press"
        return {"action_type": kind, "click_point": [thousandths(v) for v in action.point]}
    if word == "scroll":
        return {"action_type": SCROLL_IDS[content_direction(action, finger_words=finger_words)]}
    if word == "type":
        return {"action_type": 3, "typed_text": action.text}
    if word == "button":
        return {"action_type": BUTTON_IDS.get(button(action), f"press_{button(action)}")}
    if word == "open":
        return {"action_type": "open_app", "app_name": action.text}
    if word in ("wait", "finish"):
        return {"action_type": "wait" if word == "wait" else 10 if action.status == "success" else 11}
    raise NoCounterpart


def compare(said: Any, true: Mapping[str, Any]) -> Score:
    """Points within 140 thousandths, typed text with token F1 above 0.5, other keys equal.

    Returns:
        ``parts``: ``step_correct``, ``type_correct``, ``format_wrong``, ``grounding`` and ``text`` as [right,
        compared].
    """
    parts = _parts()
    if not isinstance(said, dict):
        return unreadable("not_a_dictionary", parts, error="AttributeError")
    if said.get("action_type") != true.get("action_type"):
        return graded(0.0, parts)
    parts["type_correct"] = 1
    for key, value in said.items():
        if key == "action_type":
            continue
        if key not in true:
            return wrong("unknown_key", parts)
        match, problem = _same_value(key, value, true[key], parts)
        if problem:
            return unreadable(problem, parts, error="TypeError")
        if not match:
            return graded(0.0, parts)
    parts["step_correct"] = 1
    return graded(1.0, parts)


def simpagent(text: Any, answer: str) -> Score:
    """An answer against the annotation as SimpAgent writes it."""
    true = read(answer)
    try:
        return compare(read(text), true)
    except Unreadable as error:
        return error.score({**_parts(), "format_wrong": 1})


def rule(true: Callable[[Truth, Frame], Action], finger_grammars: tuple[str, ...] = ()) -> Rule:
    """The protocol of a benchmark.

    Args:
        true: its annotation in common form.
        finger_grammars: grammars whose scroll words name the finger on this benchmark.
    """

    def score(said: Any, truth: Truth, frame: Frame) -> Score:
        found = compare(said, dictionary(true(truth, frame)))
        right, compared = found.parts["grounding"]
        return measured(found, found.parts["type_correct"], right if compared else None)

    def unread(error: Unreadable, truth: Truth, frame: Frame) -> Score:
        if isinstance(error, NoCounterpart):
            return refused_step(error, truth, frame)
        return measured(error.score({**_parts(), "format_wrong": 1}), 0, None)

    return Rule(
        score,
        enter=lambda action, grammar, frame: dictionary(action, finger_words=grammar in finger_grammars),
        readers={"simpagent": lambda text, frame: read(text)},
        refused=unread,
    )


def _parts() -> JsonObject:
    return {"step_correct": 0, "type_correct": 0, "format_wrong": 0, "grounding": [0, 0], "text": [0, 0]}


def _same_value(key: str, said: Any, true: Any, detail: JsonObject) -> tuple[bool, str]:
    if key == "click_point":
        if not (isinstance(said, list) and isinstance(true, list)):
            return False, ""
        a, b = number_pair(said), number_pair(true)
        if a is None or b is None:
            return False, "point_not_numbers"
        near = math.hypot(a[0] - b[0], a[1] - b[1]) <= 140
        detail["grounding"] = [int(near), 1]
        return near, ""
    if key == "typed_text":
        if not (isinstance(said, str) and isinstance(true, str)):
            return False, "text_not_text"
        same = plain_f1(said, true) > TEXT_SIMILARITY
        detail["text"] = [int(same), 1]
        return same, ""
    return said == true, ""


def _listed(text: str) -> str:
    """Points written as (x,y), bare or quoted, become JSON lists; decimals are not recognised."""
    as_list = r'"click_point": [\1, \2]'
    return _QUOTED_POINT.sub(as_list, _TUPLE_POINT.sub(as_list, text))
