"""Android in the Wild: action matching of google-research (android_in_the_wild) as SeeClick applies it.

Thresholds, growth of the boxes and the axis rule: tasks' page "aitw", section 5. Distances and box edges are float32,
because the reference computes them in jax; boxes are grown in float64 first, as there. Known consequences: up equals
down, typed text is not looked at, a step without annotated boxes cannot be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...json_values import JsonObject
from ...sample import Score, graded
from ..grammars.seeclick import dictionary as read_action
from ..untrusted import Unreadable, number_pair

TAP_DISTANCE = np.float32(0.14)
SWIPE_DISTANCE = np.float32(0.04)
GROWTH = 1.4
TYPE, DUAL_POINT = 3, 4
# Canonical swipes (touch, lift as x, y), named after the content that appears.
SCROLLS = {
    "scroll down": ((0.5, 0.8), (0.5, 0.2)),
    "scroll up": ((0.5, 0.2), (0.5, 0.8)),
    "scroll left": ((0.2, 0.5), (0.8, 0.5)),
    "scroll right": ((0.8, 0.5), (0.2, 0.5)),
}
SCROLL_IDS = {0: "scroll down", 1: "scroll up", 8: "scroll left", 9: "scroll right"}
_NOWHERE = (-1.0, -1.0)
WRONG_FORMAT = {
    "match": 0,
    "type_match": 0,
    "text_match": None,
    "is_click": 0,
    "click_match": 0,
    "is_scroll": 0,
    "scroll_match": 0,
    "both_click": 0,
    "both_click_match": 0,
    "wrong_format": 1,
}


def match_actions(
    touch_1: Sequence[float],
    lift_1: Sequence[float],
    type_1: float,
    touch_2: Sequence[float],
    lift_2: Sequence[float],
    type_2: float,
    boxes_yxhw: Any,
) -> bool:
    """Do two actions lead to a similar screen?

    Args:
        touch_1: (y, x) as fractions.
        lift_1: (y, x) as fractions.
        touch_2: (y, x) as fractions.
        lift_2: (y, x) as fractions.
        type_1: AITW action ids.
        type_2: AITW action ids.
        boxes_yxhw: (n, 4) annotated boxes y, x, height, width as fractions, n >= 1.

    Raises:
        Unreadable: ``boxes_yxhw`` is not of that shape (the reference stops there whatever the actions are).
    """
    try:
        boxes = np.asarray(boxes_yxhw, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise Unreadable("boxes_malformed") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) == 0:
        raise Unreadable("no_boxes", "IndexError")
    with np.errstate(all="ignore"):
        a, a_end, b, b_end = (np.asarray(p, dtype=np.float32) for p in (touch_1, lift_1, touch_2, lift_2))
        if type_1 != DUAL_POINT or type_2 != DUAL_POINT:
            return bool(type_1 == type_2)
        taps = _distance(a, a_end) <= SWIPE_DISTANCE, _distance(b, b_end) <= SWIPE_DISTANCE
        if taps[0] != taps[1]:
            return False
        if taps[0]:
            grown = grow(boxes)
            return bool((_inside(a, grown) & _inside(b, grown)).any() or _distance(a, b) <= TAP_DISTANCE)
        return bool(np.argmax(np.abs(a_end - a)) == np.argmax(np.abs(b_end - b)))


def grow(boxes_yxhw: np.ndarray) -> np.ndarray:
    """(n, 4) float32 boxes, each side enlarged by 1.4 times its length, clipped to start at 0 and to be 1 at most."""
    y, x, h, w = boxes_yxhw.astype(np.float64).T
    return np.stack(
        [
            np.maximum(np.float32(0), (y - GROWTH * h / 2).astype(np.float32)),
            np.maximum(np.float32(0), (x - GROWTH * w / 2).astype(np.float32)),
            np.minimum(np.float32(1), (h + GROWTH * h).astype(np.float32)),
            np.minimum(np.float32(1), (w + GROWTH * w).astype(np.float32)),
        ],
        axis=1,
    )


def step(text: Any, truth: Mapping[str, Any]) -> Score:
    """One step of the SeeClick split.

    Args:
        text: answer of a model that writes SeeClick's dictionary.
        truth: ``action_type_id``, ``action_type_text``, ``touch``, ``lift`` (x, y), ``type_text``, ``annot_position``
            (flat, y, x, height, width).

    Returns:
        Score 1 or 0; ``parts`` has ``match``, ``type_match``, ``text_match``, ``is_click``, ``click_match``,
        ``is_scroll``, ``scroll_match``, ``both_click``, ``both_click_match``, ``wrong_format``.
    """
    try:
        return compare(read_action(text), truth)
    except Unreadable as error:
        return error.score(dict(WRONG_FORMAT))


def compare(said: Mapping[Any, Any], truth: Mapping[str, Any]) -> Score:
    """The same for SeeClick's dictionary.

    Raises:
        Unreadable: an action that the rule cannot read.
    """
    true_type, true_touch, true_lift, true_text = _truth(truth)
    said_type, touch, lift, said_text = _said(said)
    boxes = box_rows(truth["annot_position"])
    match = match_actions(touch, lift, said_type, true_touch, true_lift, true_type, boxes)
    true_tap = _is_tap(true_touch, true_lift)
    click = int(true_type == DUAL_POINT and true_tap)
    scroll = int(true_type == DUAL_POINT and not true_tap)
    both = int(click and said_type == DUAL_POINT and _is_tap(touch, lift))
    hit = int(match)
    text_match = int(said_text in true_text or true_text in said_text) if true_type == TYPE else None
    return graded(
        hit,
        {
            "match": hit,
            "type_match": int(said_type == true_type),
            "text_match": text_match,
            "is_click": click,
            "click_match": click * hit,
            "is_scroll": scroll,
            "scroll_match": scroll * hit,
            "both_click": both,
            "both_click_match": both * hit,
            "wrong_format": 0,
        },
    )


def official_step(kind: int, touch: Sequence[float], lift: Sequence[float], truth: Mapping[str, Any]) -> Score:
    """One step of the release: the recorded gesture itself, and no box is needed where none is annotated.

    Args:
        kind: predicted AITW action id.
        touch: predicted (x, y) as fractions; anywhere outside the screen for ids without a place.
        lift: predicted (x, y) as fractions; anywhere outside the screen for ids without a place.
        truth: as for ``step``; a swipe is compared as it was recorded, not as the canonical one.

    Returns:
        ``parts``: ``match``, ``type_match``, ``is_click``, ``is_scroll``, ``grounding`` (1 or 0 where both are taps,
        else None).
    """
    true_type, true_touch, true_lift = truth["action_type_id"], truth["touch"], truth["lift"]
    # A box without area outside of the screen: the rule wants at least one.
    boxes = box_rows(truth["annot_position"]) or [[2.0, 2.0, 0.0, 0.0]]
    dual = true_type == DUAL_POINT
    tap = dual and _is_tap(_yx(true_touch), _yx(true_lift))
    try:
        match = match_actions(_yx(touch), _yx(lift), kind, _yx(true_touch), _yx(true_lift), true_type, boxes)
    except Unreadable as error:
        return error.score(
            {"match": 0, "type_match": 0, "is_click": int(tap), "is_scroll": int(dual and not tap), "grounding": None},
        )
    both = tap and kind == DUAL_POINT and _is_tap(_yx(touch), _yx(lift))
    return graded(
        match,
        {
            "match": int(match),
            "type_match": int(kind == true_type),
            "is_click": int(tap),
            "is_scroll": int(dual and not tap),
            "grounding": int(match) if both else None,
        },
    )


def box_rows(flat: Sequence[float]) -> list[Sequence[float]]:
    """A flat list as rows of four; a remainder stays a shorter row, which the matching refuses."""
    return [flat[i : i + 4] for i in range(0, len(flat), 4)]


def whole_rows(flat: Sequence[float]) -> list[Sequence[float]]:
    """The rows of four numbers; a remainder is left out."""
    return [row for row in box_rows(flat) if len(row) == 4]


def report(steps: Iterable[tuple[str, Score]]) -> JsonObject:
    """Step accuracy per sub-domain, their plain mean (the published number), and SeeClick's secondary accuracies.

    Args:
        steps: (sub-domain, score of ``step``) of every step.
    """
    by_subset: dict[str, list[Mapping[str, Any]]] = {}
    for subset, score in steps:
        by_subset.setdefault(subset, []).append(score.parts)
    subsets = {name: _subset(rows) for name, rows in by_subset.items()}
    values = [s["step_accuracy"] for s in subsets.values()]
    return {"score": sum(values) / len(values) if values else None, "subsets": subsets}


def _subset(rows: list[Mapping[str, Any]]) -> JsonObject:
    def share(part: str, whole: str) -> float | None:
        n = sum(r[whole] for r in rows)
        return sum(r[part] for r in rows) / n if n else None

    texts = [r["text_match"] for r in rows if r["text_match"] is not None]
    return {
        "n": len(rows),
        "step_accuracy": sum(r["match"] for r in rows) / len(rows),
        "type_accuracy": sum(r["type_match"] for r in rows) / len(rows),
        "text_accuracy": sum(texts) / len(texts) if texts else None,
        "click_accuracy": share("click_match", "is_click"),
        "scroll_accuracy": share("scroll_match", "is_scroll"),
        "both_click_accuracy": share("both_click_match", "both_click"),
        "wrong_format": sum(r["wrong_format"] for r in rows),
    }


def _distance(a: np.ndarray, b: np.ndarray) -> np.floating[Any]:
    delta = a - b
    length: np.floating[Any] = np.sqrt((delta * delta).sum(dtype=np.float32))
    return length


def _is_tap(touch: Sequence[float], lift: Sequence[float]) -> bool:
    with np.errstate(all="ignore"):
        return bool(_distance(np.asarray(touch, np.float32), np.asarray(lift, np.float32)) <= SWIPE_DISTANCE)


def _inside(point_yx: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    top, left, height, width = boxes.T
    y, x = point_yx
    hit: np.ndarray = (y >= top) & (y <= top + height) & (x >= left) & (x <= left + width)
    return hit


def _yx(point: Sequence[float]) -> tuple[float, float]:
    return point[1], point[0]


def _truth(truth: Mapping[str, Any]) -> tuple[int, tuple[float, float], tuple[float, float], str]:
    kind = truth["action_type_id"]
    touch: Sequence[float] = _NOWHERE
    lift: Sequence[float] = _NOWHERE
    if kind == DUAL_POINT:
        if truth["action_type_text"] == "click":
            touch, lift = truth["touch"], truth["lift"]
        else:
            touch, lift = SCROLLS[truth["action_type_text"]]
    return kind, _yx(touch), _yx(lift), truth["type_text"].lower() if kind == TYPE else ""


def _said(action: Mapping[Any, Any]) -> tuple[float, tuple[float, float], tuple[float, float], str]:
    kind = action["action_type"]
    if not isinstance(kind, (int, float)) or not -(2**31) <= kind < 2**31:
        raise Unreadable("action_type_not_a_number", "TypeError")
    if kind == DUAL_POINT:
        point = number_pair(action.get("click_point"))
        if point is None:
            raise Unreadable("no_point", "KeyError")
        return DUAL_POINT, _yx(point), _yx(point), ""
    if kind in SCROLL_IDS:
        touch, lift = SCROLLS[SCROLL_IDS[int(kind)]]
        return DUAL_POINT, _yx(touch), _yx(lift), ""
    text = ""
    if kind == TYPE:
        text = action.get("typed_text")  # type: ignore[assignment]
        if not isinstance(text, str):
            raise Unreadable("no_text", "KeyError")
    return kind, _NOWHERE, _NOWHERE, text.lower()
