"""GUI-Odyssey: its own rule (``official``, src/eval_mm), OS-Atlas's and SimpAgent's.

Kept from the references: what follows a second colon is lost on both sides; the empty text is contained in every text;
SimpAgent compares only the keys of the prediction. With ``upstream=True`` the official rule also takes what numpy
broadcasts (one number against both coordinates, a nested box); the default calls that invalid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..distance import edit_distance, token_f1
from ..grammars.osatlas import action_text, integers
from ..untrusted import Unreadable, bounded, json_value, literal, number_pair
from ..verdict import RuleUndefined, Verdict

CLICK_DISTANCE = 0.14
TEXT_SIMILARITY = 0.5
THOUSANDTHS_DISTANCE = 0.14 * 1000
CATEGORIES = (
    "Multi_Apps",
    "Web_Shopping",
    "General_Tool",
    "Information_Management",
    "Media_Entertainment",
    "Social_Sharing",
)
_POINTED = ("CLICK", "LONG_PRESS")
_TUPLE_POINT = re.compile(r'"click_point":\s*\((\d+),\s*(\d+)\)')
_QUOTED_POINT = re.compile(r'"click_point":\s*"\((\d+),\s*(\d+)\)"')


def official(text: Any, answer: str, sam2_bbox: Sequence[float] | None, *, upstream: bool = False) -> Verdict:
    """An answer string against the annotated one.

    Args:
        text: e.g. ``CLICK: (512, 233)``, ``TYPE: pizza``, ``SCROLL: UP``, ``PRESS_BACK``; thousandths.
        answer: the annotated string.
        sam2_bbox: two corners of the target in thousandths, or None; an empty list makes a pointed step invalid.
        upstream: accept what the reference accepts by accident.

    Returns:
        ``detail``: ``is_correct`` (yes, no) and ``info`` as in the reference.
    """
    true_name, true_info = _decode(answer)
    try:
        name, info = _decode(bounded(text))
    except Unreadable as error:
        return _odyssey(False, "invalid", error.reason)
    if name != true_name:
        return _odyssey(False, "action_fail")
    try:
        if name == "TYPE":
            return _odyssey(_same_text(true_info, info), "type")
        if name == "SCROLL":
            return _odyssey(true_info.lower() == info.lower(), "scroll")
        if name in _POINTED:
            return _odyssey(_same_point(info, true_info, sam2_bbox, upstream), "click")
    except Unreadable as error:
        return _odyssey(False, "invalid", error.reason)
    return _odyssey(True, "action")


def official_report(rows: Sequence[Mapping[str, Any]], metric: str, *, upstream: bool = False) -> dict[str, Any]:
    """Action matching score and success rate, percent with two decimals.

    Args:
        rows: per step ``episode`` (``<episode>_<step>``), ``category``, ``step_length`` and ``verdict`` (of
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
    infos = [r["verdict"].detail["info"] for r in rows]
    texts = [i for i in infos if i.startswith("type_")]
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["category"] if metric == "micro" else "all", []).append(row)
    if upstream and (not texts or (metric == "micro" and len(groups) != len(CATEGORIES)) or not consistent(rows)):
        raise RuleUndefined("the reference stops: six categories and at least one TYPE step are needed")
    if not rows:
        return {"AMS": None, "SR": None, "total": 0, "action_type": None, "text": None}
    right = [round(sum(r["verdict"].score == 1 for r in g) / len(g) * 100, 2) for g in groups.values()]
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
    lengths: dict[str, Any] = {}
    return all(lengths.setdefault(_episode(r["episode"]), r["step_length"]) == r["step_length"] for r in rows)


def osatlas(text: Any, answer: str) -> Verdict:
    """OS-Atlas's rule (eval_scripts/odyssey): name, then 140 thousandths, token F1 of the whole line, or identity.

    ``answer`` is the annotated action without the heading. A text without exactly two integers means (0, 0).
    """
    try:
        said = action_text(text).strip()
    except Unreadable as error:
        return _osatlas(False, False, error.reason)
    true_name = answer.split(" ")[0]
    if said.split(" ")[0].strip(":") != true_name:
        return _osatlas(False, False)
    if true_name in _POINTED:
        try:
            numbers = integers(said)
        except Unreadable as error:
            return _osatlas(False, True, error.reason)
        x, y = numbers if len(numbers) == 2 else (0, 0)
        true_x, true_y = integers(answer)[:2]
        return _osatlas(math.sqrt((x - true_x) ** 2 + (y - true_y) ** 2) <= THOUSANDTHS_DISTANCE, True)
    if true_name == "TYPE":
        return _osatlas(plain_f1(said, answer) > TEXT_SIMILARITY, True)
    return _osatlas(true_name != "SCROLL" or said == answer, True)


def simpagent(text: Any, answer: str) -> Verdict:
    """SimpAgent's rule (Odssey_sum.py, AndroidControl_sum.py): JSON dictionaries, only the prediction's keys compared.

    Points within 140 thousandths, typed text with token F1 above 0.5, other keys equal. ``detail``: ``step_correct``,
    ``type_correct``, ``format_wrong``, ``grounding`` and ``text`` as [right, compared].
    """
    detail: dict[str, Any] = {
        "step_correct": 0,
        "type_correct": 0,
        "format_wrong": 0,
        "grounding": [0, 0],
        "text": [0, 0],
    }
    try:
        said = json_value(_listed(bounded(text)))
    except Unreadable as error:
        return Verdict(0.0, error.reason, {**detail, "format_wrong": 1})
    true = json_value(_listed(answer))
    if not isinstance(said, dict):
        return Verdict(0.0, "not_a_dictionary", detail, error="AttributeError")
    if said.get("action_type") != true.get("action_type"):
        return Verdict(0.0, "wrong", detail)
    detail["type_correct"] = 1
    for key, value in said.items():
        if key == "action_type":
            continue
        if key not in true:
            return Verdict(0.0, "unknown_key", detail)
        match, problem = _same_value(key, value, true[key], detail)
        if not match:
            return Verdict(0.0, problem or "wrong", detail, error="TypeError" if problem else "")
    detail["step_correct"] = 1
    return Verdict(1.0, "ok", detail)


def plain_f1(said: str, true: str) -> float:
    """F1 of the sets of lower-case, blank-separated tokens; 0 if either is empty (OS-Atlas, SimpAgent)."""
    a, b = set(said.lower().split()), set(true.lower().split())
    return token_f1(a, b) if a and b else 0.0


def _same_value(key: str, said: Any, true: Any, detail: dict[str, Any]) -> tuple[bool, str]:
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


def _decode(text: str) -> tuple[str, Any]:
    parts = text.split(":")
    name, info = parts[0].strip(), parts[1].strip() if len(parts) > 1 else ""
    if len(parts) > 1 and name in _POINTED:
        return name, literal(info)
    return name, info


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


def _odyssey(right: bool, info: str, reason: str = "") -> Verdict:
    if info not in ("invalid", "action_fail"):
        info += "_correct" if right else "_fail"
    detail = {"is_correct": "yes" if right else "no", "info": info}
    return Verdict(float(right), reason or ("ok" if right else "wrong"), detail)


def _osatlas(right: bool, same_type: bool, reason: str = "") -> Verdict:
    detail = {"correct": int(right), "type_match": int(same_type)}
    return Verdict(float(right), reason or ("ok" if right else "wrong"), detail)


def _episode(name: str) -> str:
    base = name.rsplit("/", 1)[-1]
    return base.replace("_" + base.split("_")[-1], "")


def _success_rate(rows: Sequence[Mapping[str, Any]]) -> float:
    """Percent of complete episodes whose steps are all right; 0 if no episode is complete."""
    episodes: dict[str, list[bool]] = {}
    lengths: dict[str, int] = {}
    for row in rows:
        name = _episode(row["episode"])
        episodes.setdefault(name, []).append(row["verdict"].score == 1)
        lengths[name] = row["step_length"]
    complete = [all(steps) for name, steps in episodes.items() if len(steps) == lengths[name]]
    return round(sum(complete) / len(complete) * 100, 2) if complete else 0.0
