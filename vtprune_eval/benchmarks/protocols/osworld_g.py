"""OSWorld-G: lmms-eval's rule (``official``), FocusUI's for pointer models, VLMEvalKit's.

Boxes are left, top, width, height in fractional pixels, kept in float64 and never rounded. A refusal item is right only
if both coordinates are negative; a refusal in words is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..untrusted import Unreadable, bounded
from ..verdict import Verdict
from .geometry import as_corners, fractions_of, inside, inside_polygon, mean, ordered, pair_or_none
from .screenspot import vlmeval_point

_NUM = r"-?\d+(?:\.\d+)?%?"
_NUMBER = re.compile(_NUM)
_TAG = re.compile(r"<\s*bbox", re.IGNORECASE)
_END_TAG = re.compile(r"<\s*/\s*bbox\s*>", re.IGNORECASE)
# One comma or at least one blank between the numbers.
_BRACKETED = re.compile(rf"[\[(]\s*({_NUM})(?:\s*,\s*|\s+)({_NUM})\s*[\])]")
_X = re.compile(rf"x['\"]?\s*[:=]\s*({_NUM})", re.IGNORECASE)
_Y = re.compile(rf"y['\"]?\s*[:=]\s*({_NUM})", re.IGNORECASE)
_BOX_WORDS = ("box", "rect")


def read_point(text: Any) -> tuple[float, float]:
    """lmms-eval's reading, in this order: four numbers in a ``bbox`` tag (their centre); two numbers in brackets;
    ``x: .. y: ..``; four numbers if a word like box or rect occurs (centre); the first two numbers.

    A trailing percent sign divides by 100.

    Raises:
        Unreadable: fewer than two numbers.
    """
    text = bounded(text)
    tagged = _tagged(text)
    if len(tagged) >= 4:
        return _centre(tagged)
    pair = _BRACKETED.search(text)
    if pair:
        return _value(pair[1]), _value(pair[2])
    x = _X.search(text)
    y = _Y.search(text, x.end()) if x else None
    if x and y:
        return _value(x[1]), _value(y[1])
    numbers = _NUMBER.findall(text)
    if len(numbers) >= 4 and any(word in text.lower() for word in _BOX_WORDS):
        return _centre(numbers)
    if len(numbers) < 2:
        raise Unreadable("no_point", "")
    return _value(numbers[0]), _value(numbers[1])


def official(text: Any, item: Mapping[str, Any]) -> Verdict:
    """lmms-eval's rule.

    Args:
        text: the answer; both numbers in [0, 1] are fractions, else pixels.
        item: ``image_size``, ``box_type`` (``bbox``, ``polygon``, ``refusal``), ``box_coordinates``.

    Returns:
        ``detail``: ``correct``, ``box_type``, ``parsed`` (the numbers as read, or None).
    """
    kind = str(item.get("box_type", "")).lower()
    try:
        parsed = read_point(text)
    except Unreadable as error:
        return Verdict(0.0, error.reason, {"correct": False, "box_type": kind, "parsed": None})
    x, y = parsed
    if 0 <= x <= 1 and 0 <= y <= 1:
        x, y = x * item["image_size"][0], y * item["image_size"][1]
    hit = _in_region((x, y), kind, item.get("box_coordinates") or [])
    return Verdict(float(hit), "ok" if hit else "wrong", {"correct": hit, "box_type": kind, "parsed": list(parsed)})


def focusui(point: Any, item: Mapping[str, Any]) -> Verdict:
    """FocusUI and GUI-Actor: a point, as fractions if both are in [0, 1], against the region as fractions."""
    at = pair_or_none(point)
    kind = str(item.get("box_type", "")).lower()
    if at is None:
        return Verdict(0.0, "no_point", {"correct": False, "box_type": kind})
    width, height = item["image_size"]
    x, y = at
    if not (0 <= x <= 1 and 0 <= y <= 1):
        x, y = x / width, y / height
    stored = item.get("box_coordinates") or []
    if kind == "bbox":
        hit = inside((x, y), fractions_of(as_corners(stored), (width, height)))
    else:
        hit = _in_region((x, y), kind, [v / (height if i % 2 else width) for i, v in enumerate(stored)])
    return Verdict(float(hit), "ok" if hit else "wrong", {"correct": hit, "box_type": kind})


def vlmeval(text: Any, item: Mapping[str, Any]) -> Verdict:
    """VLMEvalKit: coordinates divided by 1000 whatever they are; the first four stored numbers as x, y, width, height
    even for polygons and refusals; an unreadable answer is (0, 0)."""
    stored = list(item["box_coordinates"][:4])
    width, height = item["image_size"]
    safe = [0 if v == -1 else v for v in (stored[0], stored[1], stored[0] + stored[2], stored[1] + stored[3])]
    try:
        x, y = vlmeval_point(text)
    except Unreadable as error:
        return Verdict(0.0, error.reason, {"correct": 0, "wrong_format": 1})
    hit = inside((x / 1000, y / 1000), fractions_of(safe, (width, height)))
    return Verdict(float(hit), "ok" if hit else "wrong", {"correct": int(hit), "wrong_format": 0})


def report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Share of right items overall and per box type (0 where there is none), and per category where given.

    Args:
        results: ``correct``, ``box_type``, optional ``categories`` (an item with two counts in both).
    """

    def share(rows: Sequence[Mapping[str, Any]]) -> float:
        return mean([float(bool(r["correct"])) for r in rows]) or 0.0

    out: dict[str, Any] = {"overall": share(results), "n": len(results)}
    for kind in ("bbox", "polygon", "refusal"):
        out[kind] = share([r for r in results if r.get("box_type") == kind])
    names = dict.fromkeys(c for r in results for c in r.get("categories", ()))
    out["by_category"] = {c: share([r for r in results if c in r.get("categories", ())]) for c in names}
    return out


def _in_region(point: tuple[float, float], kind: str, stored: Sequence[float]) -> bool:
    if kind == "bbox":
        return len(stored) == 4 and inside(point, as_corners(stored))
    if kind == "polygon":
        # Four numbers are two corners, not a polygon of two points.
        return inside(point, ordered(stored)) if len(stored) == 4 else inside_polygon(point, stored)
    return kind == "refusal" and point[0] < 0 and point[1] < 0


def _tagged(text: str) -> list[str]:
    """Numbers inside the first bbox tag."""
    start = _TAG.search(text)
    opened = text.find(">", start.end()) if start else -1
    end = _END_TAG.search(text, opened + 1) if opened >= 0 else None
    return _NUMBER.findall(text[opened + 1 : end.start()]) if end else []


def _centre(tokens: Sequence[str]) -> tuple[float, float]:
    x1, y1, x2, y2 = (_value(t) for t in tokens[:4])
    return (x1 + x2) / 2, (y1 + y2) / 2


def _value(token: str) -> float:
    return float(token[:-1]) / 100 if token.endswith("%") else float(token)
