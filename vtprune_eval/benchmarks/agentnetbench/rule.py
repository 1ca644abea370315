"""AgentNetBench: OpenCUA's rule (``official``; evaluation/agentnetbench at 1d70f206) and GUI-KV's (``guikv``).

Predictions are lists of (type, value): value is (x, y) fractions, text, a list of keys, a scroll amount or a status.
Later commits of OpenCUA compare keys in order and the scroll's direction and amount; the published numbers do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...json_values import JsonObject
from ...sample import Score, unreadable, wrong
from ..action import Action as Said
from ..grammars import ui_tars
from ..rules.distance import edit_distance
from ..rules.geometry import as_corners, inside, mean
from ..untrusted import MAX_CHARS, NoCounterpart, Unreadable, number_pair

NEAR = 0.01 * 2**0.5
DECAY = 120
SIMILAR = 0.8
POINTED = ("click", "doubleclick", "rightclick", "tripleclick", "moveto", "dragto")
_SUBMIT = ("enter", "return")

Action = Sequence[Any]


def official(predicted: Sequence[Action], truth: Mapping[str, Any]) -> Score:
    """One step: annotated actions in order, mean over annotated types; the best of the alternatives if below 1.

    Args:
        predicted: actions of the answer; empty where it could not be read.
        truth: ``ground_truth_actions`` and ``alternative_options`` (lists of actions); not changed.

    Returns:
        ``parts``: ``total``, ``actions`` (score per annotated type), ``alternative`` (index of the one used, or None).
    """
    total, scores = _official(predicted, truth.get("ground_truth_actions") or [])
    used = None
    for index, option in enumerate(truth.get("alternative_options") or []):
        if total >= 1:
            break
        other, other_scores = _official(predicted, option)
        if other > total:
            total, scores, used = other, other_scores, index
    parts = {"total": total, "actions": scores, "alternative": used}
    if total != 1 and not predicted:
        return replace(unreadable("no_action", parts), value=total)
    return Score(total, None, "ok" if total == 1 else "partial", parts)


def guikv(predicted: Sequence[Action], truth: Mapping[str, Any]) -> Score:
    """GUI-KV: the first predicted against the first annotated action.

    Where the types differ, the first alternative that starts with the predicted type counts; where the score is exactly
    0, all alternatives are tried. A missed click scores a little more than 0, so its alternatives never are.

    Returns:
        ``parts``: ``score``, ``counted_in_type`` (is the step in the per-type lists?).
    """
    actions = truth.get("ground_truth_actions") or []
    if not actions or not predicted:
        parts = {"score": 0.0, "counted_in_type": False}
        return unreadable("no_action", parts) if actions else wrong("nothing_annotated", parts)
    options = [o for o in truth.get("alternative_options") or [] if o]
    said = predicted[0]
    kind = "tripleclick" if said[0].lower() == "triple_click" else said[0].lower()
    value = _value(said)
    first = actions[0]
    if kind != first["type"].lower():
        first = next((o[0] for o in options if o[0]["type"].lower() == kind), None)
    score = _single(kind, value, first) if first else 0.0
    if score == 0:
        score = max([0.0, *(_single(kind, value, o[0]) for o in options if o[0]["type"].lower() == kind)])
    return Score(score, None, "ok" if score == 1 else "partial", {"score": score, "counted_in_type": True})


def report(rows: Iterable[Mapping[str, Any]]) -> JsonObject:
    """Mean over all steps (micro), per type over the steps that have it, over milestones, and over trajectories.

    Args:
        rows: per step ``trajectory``, ``score``, optional ``milestone``, ``domain`` and, for ``guikv``,
            ``action_type`` (the first annotated one).
    """
    rows = list(rows)
    by_type: dict[str, list[float]] = {}
    groups: dict[str, dict[str, list[float]]] = {"trajectory": {}, "domain": {}}
    for row in rows:
        detail = row["score"].parts
        scores = detail.get("actions", {})
        if detail.get("counted_in_type") and "action_type" in row:
            scores = {row["action_type"].lower(): detail["score"]}
        for kind, score in scores.items():
            by_type.setdefault(kind, []).append(score)
        for name, values in groups.items():
            if row.get(name) is not None:
                values.setdefault(str(row[name]), []).append(row["score"].value)
    trajectories = [sum(v) / len(v) for v in groups["trajectory"].values()]
    return {
        "n": len(rows),
        "score": mean([r["score"].value for r in rows]),
        "by_action_type": {k: {"n": len(v), "score": mean(v)} for k, v in sorted(by_type.items())},
        "milestones": mean([r["score"].value for r in rows if r.get("milestone")]),
        "trajectories": mean(trajectories),
        "by_domain": {k: {"n": len(v), "score": mean(v)} for k, v in sorted(groups["domain"].items())},
    }


def pairs(action: Said) -> list[tuple[str, Any]]:
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
    raise NoCounterpart


def from_ui_tars(
    text: Any, image_size: tuple[int, int], model_size: tuple[int, int] | None = None
) -> list[tuple[str, Any]]:
    """GUI-KV's translation of UI-TARS's first action; empty where it cannot be read or has no counterpart.

    A drag becomes its end point, a scroll +5 or -5, ``ctrl`` becomes ``control``; so none of these can score against
    annotations that put a ``moveTo`` first or say ``ctrl``.
    """
    try:
        parsed = ui_tars.parse(text, image_size, model_size=model_size, empty_without_action=True)
    except Unreadable:
        return []
    if not parsed:
        return []
    kind, inputs = parsed[0]["action_type"], parsed[0]["action_inputs"]
    start, end = number_pair(inputs.get("start_box")), number_pair(inputs.get("end_box"))
    clicks = {"click": "click", "long_press": "click", "left_double": "doubleclick", "right_single": "rightclick"}
    if kind in clicks:
        return [(clicks[kind], start)] if start else []
    if kind == "drag":
        return [("dragto", end)] if start and end else []
    if kind == "hotkey":
        keys = (inputs.get("key") or inputs.get("keys") or "").lower().split()
        return [("hotkey", [k.replace("ctrl", "control") for k in keys])] if keys else []
    if kind == "type":
        content = inputs.get("content", "")
        if content.endswith("\n"):
            return [("write", content[:-1]), ("press", ["enter"])]
        return [("write", content)] if content else []
    if kind == "scroll":
        way = inputs.get("direction", "")
        return [("scroll", 5 if way in ("up", "right") else -5)] if start and way else []
    if kind == "press_back":
        return [("press", ["escape"])]
    if kind == "finished":
        return [("terminate", "success" if "success" in str(inputs.get("content", "")).lower() else "failure")]
    return []


def _official(predicted: Sequence[Action], annotated: Sequence[Mapping[str, Any]]) -> tuple[float, dict[str, float]]:
    if not predicted or not annotated:
        return 0.0, {}
    truth, said = _merged_truth(annotated), _merged_prediction(predicted)
    if truth[0]["type"] == "terminate":
        hit = float(said[0][0] == "terminate" and _value(said[0]) == (truth[0].get("params") or {}).get("status"))
        return hit, {"terminate": hit}
    kinds = [a["type"].lower() for a in truth]
    scores: dict[str, list[float]] = {kind: [] for kind in kinds}
    started = said[0][0].lower() in kinds
    for i, (kind, action) in enumerate(zip(kinds, truth, strict=True)):
        same = started and i < len(said) and said[i][0].lower() == kind
        scores[kind].append(_single(kind, _value(said[i]), action) if same and kind != "terminate" else 0.0)
    means = {kind: sum(v) / len(v) for kind, v in scores.items()}
    return sum(means.values()) / len(means), means


def _single(kind: str, value: Any, action: Mapping[str, Any]) -> float:
    """Score of one predicted value against one annotated action of the same type."""
    params = action.get("params") or {}
    if kind in POINTED:
        return _point(value, action, params)
    if kind == "write":
        return _write(value, params.get("content") or params.get("text") or "")
    if kind in ("press", "hotkey"):
        keys = params.get("keys", [])
        if not isinstance(value, list) or not isinstance(keys, list):
            return float(value == keys)
        return float({str(k).lower() for k in value} == {str(k).lower() for k in keys})
    if kind == "scroll":
        return 1.0
    return float(kind == "terminate" and value == params.get("status", ""))


def _point(value: Any, action: Mapping[str, Any], params: Mapping[str, Any]) -> float:
    point = number_pair(value)
    if point is None or len(value) != 2:
        return 0.0
    boxes = (action.get("metadata") or {}).get("bboxes") or []
    if any(inside(point, as_corners(box["rel_bbox"])) for box in boxes):
        return 1.0
    place = params.get("position") or {}
    dx, dy = point[0] - place.get("x", 0), point[1] - place.get("y", 0)
    distance = math.hypot(dx, dy)
    return 1.0 if distance <= NEAR else math.exp(-DECAY * (distance - NEAR))


def _write(value: Any, true: str) -> float:
    if not isinstance(value, str):
        return 0.0
    said, true = value[:MAX_CHARS].lower().strip(), true.lower().strip()
    longer = max(len(said), len(true))
    similarity = 1 - edit_distance(said, true) / longer if longer else 1.0
    return 1.0 if similarity >= SIMILAR else similarity / SIMILAR


def _value(action: Action) -> Any:
    return action[1] if len(action) > 1 else None


def _submits(keys: Any) -> bool:
    return isinstance(keys, list) and len(keys) == 1 and str(keys[0]).lower() in _SUBMIT


def _merged_truth(actions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the Enter that follows a ``write``: its line break is stripped again before texts are compared."""
    out: list[Mapping[str, Any]] = []
    for action in actions:
        after_write = bool(out) and out[-1]["type"].lower() == "write" and not out[-1].get("_submitted")
        if (
            after_write
            and action["type"].lower() in ("press", "hotkey")
            and _submits((action.get("params") or {}).get("keys", []))
        ):
            out[-1] = {**out[-1], "_submitted": True}
        else:
            out.append(action)
    return out


def _merged_prediction(actions: Sequence[Action]) -> list[Action]:
    out: list[Action] = []
    merged = False
    for action in actions:
        if (
            out
            and out[-1][0].lower() == "write"
            and not merged
            and action[0].lower() == "press"
            and _submits(_value(action))
        ):
            merged = True
            continue
        out.append(action)
        merged = False
    return out
