"""GUI-Odyssey: its own rule (``official``, src/eval_mm) and OS-Atlas's.

Kept from the references: what follows a second colon is lost on both sides; the empty text is contained in every text.
With ``upstream=True`` the official rule also takes what numpy broadcasts (one number against both coordinates, a nested
box); the default calls that invalid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...json_values import JsonObject
from ...sample import Score, graded, unreadable
from ..action import OPPOSITE, Action, button, content_direction, phone_word
from ..rules import RuleUndefined
from ..rules.distance import edit_distance
from ..rules.osatlas import POINTED, TEXT_SIMILARITY, Line, line_of, near, on_texts, plain_f1
from ..untrusted import NoCounterpart, Unreadable, bounded, literal, number_pair

CLICK_DISTANCE = 0.14
CATEGORIES = (
    "Multi_Apps",
    "Web_Shopping",
    "General_Tool",
    "Information_Management",
    "Media_Entertainment",
    "Social_Sharing",
)
INVALID = {"is_correct": "no", "info": "invalid"}


Said = tuple[str, Any]


def official(text: Any, answer: str, sam2_bbox: Sequence[float] | None, *, upstream: bool = False) -> Score:
    """An answer string against the annotated one.

    Args:
        text: e.g. ``CLICK: (512, 233)``, ``TYPE: pizza``, ``SCROLL: UP``, ``PRESS_BACK``; thousandths.
        answer: the annotated string.
        sam2_bbox: two corners of the target in thousandths, or None; an empty list makes a pointed step invalid.
        upstream: accept what the reference accepts by accident.
    """
    true = decode(answer)
    try:
        return compare(decode(bounded(text)), true, sam2_bbox, upstream=upstream)
    except Unreadable as error:
        return error.score(dict(INVALID))


def compare(said: Said, true: Said, sam2_bbox: Sequence[float] | None, *, upstream: bool = False) -> Score:
    """The same for names and arguments as :func:`decode` gives them.

    Returns:
        ``parts``: ``is_correct`` (yes, no) and ``info`` as in the reference.
    """
    (name, info), (true_name, true_info) = said, true
    if name != true_name:
        return _odyssey(False, "action_fail")
    try:
        if name == "TYPE":
            return _odyssey(_same_text(true_info, info), "type")
        if name == "SCROLL":
            return _odyssey(true_info.lower() == info.lower(), "scroll")
        if name in POINTED:
            return _odyssey(_same_point(info, true_info, sam2_bbox, upstream), "click")
    except Unreadable as error:
        return error.score(dict(INVALID))
    return _odyssey(True, "action")


def official_report(rows: Sequence[Mapping[str, Any]], metric: str, *, upstream: bool = False) -> JsonObject:
    """Action matching score and success rate, percent with two decimals.

    Args:
        rows: per step ``episode`` (``<episode>_<step>``), ``category``, ``step_length`` and ``score`` (of
            ``official``).
        metric: ``macro`` (task, device and app splits: share of right steps) or ``micro`` (random split: mean over the
            categories; the names are the reference's).
        upstream: refuse what the reference refuses: other than six categories, no TYPE step, no rows, lengths that
            differ within an episode.

    Raises:
        RuleUndefined: see ``upstream``; or an unknown metric.
    """
    if metric not in ("macro", "micro"):
        raise RuleUndefined(f"metric {metric!r} is neither macro nor micro")
    infos = [r["score"].parts["info"] for r in rows]
    texts = [i for i in infos if i.startswith("type_")]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["category"] if metric == "micro" else "all", []).append(row)
    if upstream and (not texts or (metric == "micro" and len(groups) != len(CATEGORIES)) or not consistent(rows)):
        raise RuleUndefined("the reference stops: six categories and at least one TYPE step are needed")
    if not rows:
        return {"AMS": None, "SR": None, "total": 0, "action_type": None, "text": None}
    right = [round(sum(r["score"].value == 1 for r in g) / len(g) * 100, 2) for g in groups.values()]
    success = [_success_rate(g) for g in groups.values()]
    named = sum(i != "action_fail" for i in infos)
    typed = texts.count("type_correct")
    return {
        "AMS": float(np.round(np.mean(right), 2)),
        "SR": float(np.round(np.mean(success), 2)),
        "total": len(rows),
        "action_type": f"{named} / {len(rows)} = {named / len(rows) * 100:.2f}",
        "text": f"{typed} / {len(texts)} = {typed / len(texts) * 100:.2f}" if texts else None,
    }


def consistent(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Do all steps of an episode agree about its length?"""
    lengths: JsonObject = {}
    return all(lengths.setdefault(_episode(r["episode"]), r["step_length"]) == r["step_length"] for r in rows)


def decode(text: str) -> Said:
    """Name and argument of an answer string; what follows a second colon is lost.

    Raises:
        Unreadable: the point of a pointed action is no literal.
    """
    parts = text.split(":")
    name, info = parts[0].strip(), parts[1].strip() if len(parts) > 1 else ""
    if len(parts) > 1 and name in POINTED:
        return name, literal(info)
    return name, info


def said_of(action: Action, *, finger_words: bool = False) -> Said:
    """An action as the rule compares it; thousandths, directions of the finger.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        x, y = action.point
        return ("CLICK" if word == "tap" else "LONG_PRESS"), (1000 * x, 1000 * y)
    if word == "scroll":
        return "SCROLL", OPPOSITE[content_direction(action, finger_words=finger_words)].upper()
    if word == "type":  # the rule's strings have no second colon
        return "TYPE", action.text.split(":")[0].strip()
    if word == "button" and button(action) in ("back", "home", "recent"):
        return f"PRESS_{button(action).upper()}", ""
    if word == "finish":
        return ("COMPLETE" if action.status == "success" else "IMPOSSIBLE"), ""
    raise NoCounterpart


def osatlas(text: Any, answer: str) -> Score:
    """OS-Atlas's rule on texts (:func:`..rules.osatlas.on_texts`)."""
    return on_texts(compare_lines, text, answer)


def compare_lines(said: Line, true: Line) -> Score:
    """OS-Atlas's rule (eval_scripts/odyssey): name, then 140 thousandths, token F1 of the whole line, or identity.

    A text without exactly two integers means (0, 0).
    """
    text, true_name = said.text.strip(), true.text.split(" ")[0]
    if text.split(" ")[0].strip(":") != true_name:
        return _lines(False, False)
    if true_name in POINTED:
        if said.numbers is None:
            return unreadable("number_too_long", {"correct": 0, "type_match": 1})
        return _lines(near(said.numbers if len(said.numbers) == 2 else (0, 0), true.numbers or ()), True)
    if true_name == "TYPE":
        return _lines(plain_f1(text, true.text) > TEXT_SIMILARITY, True)
    return _lines(true_name != "SCROLL" or text == true.text, True)


def finger_line(action: Action) -> Line:
    """OS-Atlas's line for GUI-Odyssey: its scroll words are the finger's."""
    if action.kind in ("scroll", "swipe", "drag"):
        return Line(f"SCROLL [{OPPOSITE[content_direction(action)].upper()}]")
    return line_of(action)


def _lines(right: bool, same_type: bool) -> Score:
    return graded(right, {"correct": int(right), "type_match": int(same_type)})


def _same_text(true: str, said: str) -> bool:
    if true in said or said in true:
        return True
    longer, shorter = max(len(true), len(said)), min(len(true), len(said))
    # The distance is at least the difference of the lengths: no need to compare texts that are far apart.
    return shorter / longer >= TEXT_SIMILARITY and 1 - edit_distance(true, said) / longer >= TEXT_SIMILARITY


def _same_point(said: Any, true: Any, box: Sequence[float] | None, upstream: bool) -> bool:
    if isinstance(said, str):
        said = literal(said)
    if isinstance(true, str):
        true = literal(true)
    if not upstream and (not isinstance(said, (tuple, list)) or len(said) != 2 or number_pair(said) is None):
        raise Unreadable("no_point", "TypeError")
    try:
        if box is not None:
            x1, y1, x2, y2 = box
            if x1 <= said[0] <= x2 and y1 <= said[1] <= y2:
                return True
        with np.errstate(all="ignore"):
            return bool(np.linalg.norm(np.asarray(said) / 1000 - np.asarray(true) / 1000) <= CLICK_DISTANCE)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError, AttributeError) as error:
        raise Unreadable("point_not_comparable", type(error).__name__) from error


def _odyssey(right: bool, info: str) -> Score:
    if info != "action_fail":
        info += "_correct" if right else "_fail"
    return graded(right, {"is_correct": "yes" if right else "no", "info": info})


def _episode(name: str) -> str:
    base = name.rsplit("/", 1)[-1]
    return base.replace("_" + base.split("_")[-1], "")


def _success_rate(rows: Sequence[Mapping[str, Any]]) -> float:
    """Percent of complete episodes whose steps are all right; 0 if no episode is complete."""
    episodes: dict[str, list[bool]] = {}
    lengths: dict[str, int] = {}
    for row in rows:
        name = _episode(row["episode"])
        episodes.setdefault(name, []).append(row["score"].value == 1)
        lengths[name] = row["step_length"]
    complete = [all(steps) for name, steps in episodes.items() if len(steps) == lengths[name]]
    return round(sum(complete) / len(complete) * 100, 2) if complete else 0.0
