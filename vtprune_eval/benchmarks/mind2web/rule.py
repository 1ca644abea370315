"""Multimodal-Mind2Web: SeeClick's rule (``seeclick``) and that of GUI-KV, which is UGround's (``guikv``).

Known consequences that are kept: order and repetition of words do not matter; in ``guikv`` the boxes are full-page
coordinates divided by the size of block 0, so targets further down cannot be hit, and UI-TARS's ``type`` has no point.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from ...json_values import JsonObject
from ...sample import Score, graded, unreadable, wrong
from ..grammars import ui_tars
from ..grammars.pointing import first_argument
from ..grammars.seeclick import dictionary as read_action
from ..rules.distance import token_f1
from ..rules.geometry import as_corners, fractions_of, inside, mean
from ..rules.guikv import EMPTY, Understood
from ..untrusted import Unreadable, literal, number_pair

CLICK, TYPE, SELECT = 4, 3, 2
# An action that can be read and that the rule does not know.
UNSUPPORTED = ("operation_not_supported", "no_counterpart")
OPERATIONS = {"CLICK": CLICK, "HOVER": CLICK, "ENTER": CLICK, "TYPE": TYPE, "SELECT": SELECT}


def seeclick_f1(said: str, true: str) -> float:
    """F1 of the sets of blank-separated tokens."""
    return token_f1(set(said.split()), set(true.split()))


def guikv_f1(said: str, true: str) -> float:
    """The same in lower case, without tokens that are a substring of the list of ASCII punctuation."""
    return token_f1(*({t for t in text.lower().split() if t not in string.punctuation} for text in (said, true)))


def seeclick_step(text: Any, step: Mapping[str, Any], image_size: Sequence[int], *, upstream: bool = False) -> Score:
    """One step of the SeeClick variant: the answer is SeeClick's dictionary; see :func:`compare`."""
    try:
        said: Any = read_action(text)
    except Unreadable as error:
        said = error
    return compare(said, step, image_size, upstream=upstream)


def compare(said: Any, step: Mapping[str, Any], image_size: Sequence[int], *, upstream: bool = False) -> Score:
    """One step.

    Args:
        said: dictionary with ``action_type``, ``click_point`` and, to type or select, ``value``; or why there is none.
        step: ``operation`` {``original_op``, ``value``} and ``bbox`` {x, y, width, height} in pixels.
        image_size: (width, height) of the screenshot.
        upstream: skip a step whose annotated value cannot be read back after being written into a dictionary (a double
            quote, say), as the reference does. By default such a step is compared with the value itself.

    Returns:
        Score: step success. ``parts``: ``op_match``, ``element_match``, ``op_f1``, ``category``, ``step_success`` and
        ``reference`` (box and point as fractions).
    """
    category = OPERATIONS[step["operation"]["original_op"]]
    box, point = reference(step, image_size)
    value, skipped = _written_value(step, category)
    out: JsonObject = {
        "op_match": False,
        "element_match": False,
        "op_f1": 0.0,
        "category": category,
        "step_success": False,
        "reference": {"bbox": list(box), "point": list(point)},
    }
    if skipped and upstream:
        return wrong("reference_unreadable", out, skipped=True)
    try:
        if isinstance(said, Unreadable):
            raise said
        kind = said["action_type"]
        out["op_match"] = bool(kind == category)
        at = number_pair(said.get("click_point"))
        if at is None:
            raise Unreadable("no_point", "KeyError")
        out["element_match"] = inside(at, box)
        out["op_f1"] = seeclick_f1(_operation(kind, said.get("value")), _operation(category, value))
    except Unreadable as error:
        return error.score(out)
    out["step_success"] = out["op_f1"] == 1 and out["element_match"]
    return graded(out["step_success"], out)


def reference(step: Mapping[str, Any], image_size: Sequence[int]) -> tuple[tuple[float, ...], tuple[float, float]]:
    """The annotated box (two corners, fractions, three decimals) and its centre (three, then two decimals)."""
    b = step["bbox"]
    corners = fractions_of(as_corners((b["x"], b["y"], b["width"], b["height"])), image_size)
    centre = ((b["x"] + b["width"] / 2) / image_size[0], (b["y"] + b["height"] / 2) / image_size[1])
    x, y = (float(f"{round(v, 3):.2f}") for v in centre)
    return tuple(round(v, 3) for v in corners), (x, y)


def seeclick_report(tasks: Sequence[Sequence[Mapping[str, Any]]]) -> JsonObject:
    """Micro and macro values of SeeClick; None where there is nothing to average.

    Args:
        tasks: per task the steps, each with ``element`` (or ``element_match``), ``op_f1``, ``category``, ``op_match``.

    Returns:
        ``element_acc``, ``step_success``, ``episode_success``, ``op_f1_over_categories`` (mean over click, select and
        type; None if one of them does not occur), ``op_f1_by_category``, and macro means over the tasks.
    """
    rows = [[(_element(s), float(s["op_f1"]), s["category"]) for s in task] for task in tasks]
    steps = [s for task in rows for s in task]
    success = [[float(e and f == 1) for e, f, _ in task] for task in rows]
    by_category = {c: mean([f for _, f, k in steps if k == c]) for c in (CLICK, SELECT, TYPE)}
    values = [v for v in by_category.values() if v is not None]
    return {
        "element_acc": mean([float(e) for e, _, _ in steps]),
        "step_success": mean([v for t in success for v in t]),
        "episode_success": mean([float(all(t)) for t in success]),
        "op_f1_over_categories": mean(values) if len(values) == 3 else None,
        "op_f1_by_category": by_category,
        "macro_element_acc": _macro([[float(e) for e, _, _ in t] for t in rows]),
        "macro_step_acc": _macro(success),
        "macro_op_f1": _macro([[f for _, f, _ in t] for t in rows]),
    }


def guikv_understand(text: Any, block_size: tuple[int, int], model_size: tuple[int, int] | None = None) -> Understood:
    """What GUI-KV's script reads out of a UI-TARS answer; all empty for any other action than click, type, select and
    scroll with their arguments."""
    out: Understood = {**EMPTY}
    try:
        parsed = ui_tars.parse(text, block_size, model_size=model_size, empty_without_action=True)
    except Unreadable as error:
        return {**out, "reason": error.reason}
    if not parsed:
        return {**out, "reason": "no_action"}
    operation, inputs = parsed[0]["action_type"], parsed[0]["action_inputs"]
    values = list(inputs.values())
    needed = {"click": 1, "type": 1, "select": 2, "scroll": 2}.get(operation)
    if needed is None or len(values) < needed:
        return {**out, "reason": "operation_not_supported" if needed is None else "argument_missing"}
    out["operation"] = operation
    if operation == "type":
        out["content"] = values[0]
    else:
        out["click_point"] = first_argument(inputs)
    if needed == 2:
        out |= {"direction": values[1]} if operation == "scroll" else {"content": values[1]}
    return out


def guikv_step(understood: Understood, truth: Mapping[str, Any]) -> Score:
    """One step; a scroll does not end it but shows another block (``detail["continues"]``).

    Args:
        understood: from ``guikv_understand``.
        truth: ``operation``, ``value``, ``bbox`` (list of x, y, width, height in page pixels), ``image_size`` of
            block 0.
    """
    shown = {
        "operation": understood["operation"],
        "content": understood["content"],
        "direction": understood["direction"],
    }
    if understood["operation"] == "scroll":
        return wrong("continues", {**shown, "element": 0, "op_f1": 0.0, "step": 0, "continues": True})
    point, size = understood["click_point"], truth["image_size"]
    element = any(_inside_scaled(point, box, size) for box in truth["bbox"]) if point else False
    f1 = guikv_f1(f"{understood['operation']} {understood['content']}", f"{truth['operation']} {truth['value']}")
    step = int(element and f1 == 1)
    parts = {**shown, "element": int(element), "op_f1": f1, "step": step}
    reason = understood.get("reason")
    if reason:
        return wrong(reason, parts) if reason in UNSUPPORTED else unreadable(reason, parts)
    return graded(step, parts)


def guikv_report(tasks: Sequence[Mapping[str, Any]]) -> JsonObject:
    """Means over tasks of the means over steps; missing steps (by ``total_steps``) count as zeros.

    Args:
        tasks: ``total_steps`` and ``steps`` ({``element``, ``op_f1``}).

    Returns:
        ``element_accuracy``, ``operation_f1``, ``step_accuracy``, ``total_tasks`` and ``error_ratio``: share of tasks
        with 0, 1, 2, 3 or more (``>3``) wrong steps.
    """
    padded = []
    for task in tasks:
        steps = [(float(bool(_element(s))), float(s["op_f1"])) for s in task["steps"]]
        steps += [(0.0, 0.0)] * (task["total_steps"] - len(steps))
        if steps:
            padded.append(steps)
    right = [[float(e == 1 and f == 1) for e, f in steps] for steps in padded]
    errors: dict[str, float] = {}
    for row in right:
        n = row.count(0.0)
        key = str(n) if n <= 3 else ">3"
        errors[key] = errors.get(key, 0) + 1
    return {
        "element_accuracy": _macro([[e for e, _ in t] for t in padded]),
        "operation_f1": _macro([[f for _, f in t] for t in padded]),
        "step_accuracy": _macro(right),
        "error_ratio": {k: v / len(padded) for k, v in errors.items()},
        "total_tasks": len(padded),
    }


def _element(step: Mapping[str, Any]) -> bool:
    return bool(step["element"] if "element" in step else step["element_match"])


def _macro(tasks: Sequence[Sequence[float]]) -> float | None:
    means = [mean(t) for t in tasks]
    return mean([m for m in means if m is not None]) if means and None not in means else None


def _inside_scaled(point: Sequence[float], box_xywh: Sequence[float], size: Sequence[int]) -> bool:
    """The sides are divided first and added afterwards, as in the reference: the order matters on a border."""
    x, y, w, h = box_xywh[0] / size[0], box_xywh[1] / size[1], box_xywh[2] / size[0], box_xywh[3] / size[1]
    return inside(point, (x, y, x + w, y + h))


def _operation(kind: Any, value: Any) -> str:
    if kind in (TYPE, SELECT):
        if not isinstance(value, str):
            raise Unreadable("no_value", "KeyError")
        return f"{kind} {value.lower()}"
    return str(kind)


def _written_value(step: Mapping[str, Any], category: int) -> tuple[str | None, bool]:
    """(annotated value, could the reference not read it?): it goes through a dictionary written as text."""
    if category == CLICK:
        return None, False
    value = str(step["operation"].get("value"))
    try:
        return literal(f'{{"value": "{value}"}}')["value"], False
    except Unreadable:
        return value, True
    except (TypeError, KeyError):
        return value, True
