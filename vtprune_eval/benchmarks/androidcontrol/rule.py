"""AndroidControl as GUI-KV scores it (``guikv``, rules taken over from UGround) and as OS-Atlas does (``osatlas``).

Consequences of ``guikv`` that are
kept: UI-TARS's ``type`` has no point, so typing steps are never right; ``press_home`` and OpenCUA's scrolls neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...json_values import JsonObject
from ...sample import Score, graded, unreadable
from ..grammars import opencua, ui_tars
from ..grammars.pointing import first_argument
from ..rules.geometry import mean
from ..rules.guikv import EMPTY, Understood
from ..rules.osatlas import POINTED as POINTED_LINES
from ..rules.osatlas import TEXT_SIMILARITY, Line, near, on_texts, plain_f1
from ..untrusted import Unreadable

FAILURE_WORDS = ("unsuccessful", "infeasible", "impossible", "cannot", "can't", "unable", "fail", "error")
POINTED = ("click", "long_press", "type_text")
_OPENCUA_CLICKS = ("click", "doubleClick", "rightClick", "tripleClick", "moveTo", "dragTo", "triple_click")
# input_text occurs in the release only: UGround's sample merges it with the tap before it.
_NAMES = {"press_back": "navigate_back", "finished": "status", "type": "input_text"}


def understand(
    model: str, text: Any, image_size: tuple[int, int], model_size: tuple[int, int] | None = None
) -> Understood:
    """What GUI-KV's script reads out of an answer; all empty if it cannot be read.

    Args:
        model: ``ui_tars`` or ``opencua``.
        text: the answer.
        image_size: (width, height) of the screenshot.
        model_size: (width, height) that the model saw, if known.

    """
    try:
        if model == "opencua":
            actions = opencua.guikv(text, image_size, model_size=model_size)
            return {**EMPTY, **_from_opencua(actions)} if actions else {**EMPTY, "reason": "no_action"}
        parsed = ui_tars.parse(text, image_size, model_size=model_size, empty_without_action=True)
        return {**EMPTY, **_from_ui_tars(parsed[0])} if parsed else {**EMPTY, "reason": "no_action"}
    except Unreadable as error:
        return {**EMPTY, "reason": error.reason}


def guikv(understood: Understood, truth: Mapping[str, Any]) -> Score:
    """One step.

    Args:
        understood: from ``understand``.
        truth: ``action`` (UGround's record), ``accessibility_tree``, ``image_size`` (width, height).
    """
    action, tree, size = truth["action"], truth.get("accessibility_tree") or [], truth["image_size"]
    true, said = action.get("action_type", ""), understood["operation"]
    point = understood["click_point"]
    at = (point[0] * size[0], point[1] * size[1]) if point else None
    right = False
    if said in ("click", "long_press", "type") and true in POINTED:
        same = ("type_text" if said == "type" else said) == true
        right = same and _in_target(at, action, tree)
        if right and said == "type":
            right = action.get("text", "") == understood["content"]
    elif {said, true} == {"click", "open_app"}:
        name = (action.get("app_name") or "").lower()
        right = said == "click" and bool(name) and _labelled(at, tree, name)
    elif true == "navigate_back" and said in ("click", "press_back"):
        right = said == "press_back" or _labelled(at, tree, "back")
    elif _NAMES.get(said, said) == true:
        expected = {
            "scroll": ("direction", "direction"),
            "status": ("goal_status", "content"),
            "input_text": ("text", "content"),
        }.get(true)
        right = expected is None or action.get(expected[0], "") == understood.get(expected[1])
    parts = {"correct_step": int(right), "action_type": true, **understood}
    return unreadable(understood["reason"], parts) if understood.get("reason") else graded(right, parts)


def guikv_report(scores: Iterable[Score]) -> JsonObject:
    """Step accuracy, and grounding accuracy over annotated click, long_press and type_text, each step by its own
    annotation (the reference pairs by position, which shifts after a missing image). Also per annotated type."""
    rows = list(scores)
    by_type: dict[str, list[float]] = {}
    for row in rows:
        by_type.setdefault(row.parts["action_type"], []).append(row.value or 0.0)
    return {
        "n": len(rows),
        "step_accuracy": mean([r.value or 0.0 for r in rows]),
        "grounding_accuracy": mean([r.value or 0.0 for r in rows if r.parts["action_type"] in POINTED]),
        "by_action_type": {kind: {"n": len(v), "accuracy": mean(v)} for kind, v in sorted(by_type.items())},
    }


def osatlas(text: Any, answer: str) -> Score:
    """OS-Atlas's rule on texts (:func:`..rules.osatlas.on_texts`)."""
    return on_texts(compare_lines, text, answer)


def compare_lines(said: Line, true: Line) -> Score:
    """OS-Atlas's rule (eval_scripts/android_control).

    First words equal and: the first two integers within 140 thousandths (CLICK, LONG_PRESS); identical, or token F1 of
    the second word above 0.5 (TYPE, OPEN_APP); identical (others). A missing word stops the reference; here it is
    wrong, with ``error`` set.
    """
    words, true_words = said.words, true.words
    if not words:
        return unreadable("no_action", {"correct": 0, "type_match": 0}, error="IndexError")
    if words[0] != true_words[0]:
        return _lines(False, False)
    if true_words[0] in POINTED_LINES:
        numbers = said.numbers or ()
        return _lines(near(numbers[:2] if len(numbers) > 1 else (-100, -100), true.numbers or ()), True)
    if said.text == true.text or true_words[0] not in ("TYPE", "OPEN_APP"):
        return _lines(said.text == true.text, True)
    if len(words) < 2 or len(true_words) < 2:
        return unreadable("no_argument", {"correct": 0, "type_match": 1}, error="IndexError")
    return _lines(plain_f1(words[1], true_words[1]) > TEXT_SIMILARITY, True)


def smallest_node(x: float, y: float, tree: Sequence[Any]) -> Mapping[str, Any] | None:
    """The node with the smallest box around a pixel, borders inside; of equal ones the first. Lists may be nested."""
    best, best_area, waiting = None, math.inf, [iter(tree)]
    while waiting:
        node = next(waiting[-1], None)
        if node is None:
            waiting.pop()
        elif isinstance(node, list):
            waiting.append(iter(node))
        elif isinstance(node, dict) and node.get("bbox_pixels"):
            box = node["bbox_pixels"]
            area = (box["x_max"] - box["x_min"]) * (box["y_max"] - box["y_min"])
            if _contains(box, x, y) and area < best_area:
                best, best_area = node, area
    return best


def goal_status(content: str) -> str:
    """``successful`` or ``infeasible`` from free text."""
    if content in ("successful", "infeasible"):
        return content
    return "infeasible" if any(word in content.lower() for word in FAILURE_WORDS) else "successful"


def _from_ui_tars(action: Mapping[str, Any]) -> Understood:
    operation, inputs = action["action_type"], action["action_inputs"]
    out: Understood = {"operation": operation or ""}
    if operation in ("click", "long_press", "scroll"):
        if not inputs:
            raise Unreadable("no_point", "IndexError")
        out["click_point"] = first_argument(inputs)
        if operation == "scroll":
            out["direction"] = inputs.get("direction", "")
    elif operation == "type":
        out["content"] = inputs.get("content", "")
    elif operation == "finished":
        out["content"] = goal_status(str(inputs.get("content", "")))
    return out


def _from_opencua(actions: Sequence[tuple[str, Any]]) -> Understood:
    name, value = actions[0]
    if name in _OPENCUA_CLICKS:
        return {"operation": "click", "click_point": value}
    if name == "scroll":
        return {"operation": "scroll", "direction": value}
    if name == "write":
        return {"operation": "type", "content": value}
    if name == "press":
        return {"operation": "press", "content": value}
    if name == "terminate":
        failed = any(word in value.lower() for word in FAILURE_WORDS)
        return {"operation": "finished", "content": "infeasible" if failed else "successful"}
    return {}


def _contains(box: Mapping[str, float], x: float, y: float) -> bool:
    return box["x_min"] <= x <= box["x_max"] and box["y_min"] <= y <= box["y_max"]


def _in_target(at: tuple[float, float] | None, action: Mapping[str, Any], tree: Sequence[Any]) -> bool:
    if at is None or "x" not in action or "y" not in action:
        return False
    node = smallest_node(action["x"], action["y"], tree)
    return node is not None and _contains(node["bbox_pixels"], *at)


def _labelled(at: tuple[float, float] | None, tree: Sequence[Any], word: str) -> bool:
    node = smallest_node(*at, tree) if at else None
    if node is None:
        return False
    return any(word in (node.get(key) or "").lower() for key in ("text", "content_description"))


def _lines(right: bool, same_type: bool) -> Score:
    return graded(right, {"correct": int(right), "type_match": int(same_type)})
