"""ScreenSpot v1, v2 and Pro: SeeClick's, GUI-KV's, ScreenSpot-Pro's and VLMEvalKit's rules.

Boxes are x, y, width, height in v1 and v2, two corners in Pro, in pixels of the image. Borders are inside; VLMEvalKit
takes one pixel off the right and the bottom of v1 and v2, reads an unreadable answer as (0, 0) and weights its text,
icon and category accuracies by the squared sizes of the (category, type) groups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..grammars import opencua, ui_tars
from ..grammars.seeclick import position
from ..untrusted import Unreadable, bounded
from ..verdict import RuleUndefined, Verdict
from .androidcontrol import first_point
from .geometry import as_corners, fractions_of, inside, mean, pair_or_none

Size = tuple[int, int]
_CLICK = re.compile(r"x=([\d.]+), y=([\d.]+)")


def seeclick(text: Any, box_xywh: Sequence[float], image_size: Sequence[int]) -> Verdict:
    """v1 and v2 by SeeClick: the answer's point in fractions; ``detail``: ``correct``, ``wrong_format``, ``point``."""
    try:
        return _in_box(position(text), fractions_of(as_corners(box_xywh), image_size))
    except Unreadable as error:
        return _wrong_format(error.reason)


def guikv(
    text: Any, box_xywh: Sequence[float], image_size: Size, *, model: str = "ui_tars", model_size: Size | None = None
) -> Verdict:
    """v1 and v2 by GUI-KV: ``guikv_point`` in the box."""
    try:
        point = guikv_point(text, image_size, model=model, model_size=model_size)
    except Unreadable as error:
        return _wrong_format(error.reason)
    return _in_box(point, fractions_of(as_corners(box_xywh), image_size))


def guikv_pro(
    text: Any, corners: Sequence[float], image_size: Size, *, model: str = "ui_tars", model_size: Size | None = None
) -> Verdict:
    """Pro by GUI-KV: an unreadable answer is ``wrong``, not ``wrong_format``."""
    try:
        point: tuple[float, float] | None = guikv_point(text, image_size, model=model, model_size=model_size)
    except Unreadable as error:
        return Verdict(0.0, error.reason, {"correctness": "wrong", "correct": 0, "wrong_format": 1, "point": None})
    return pro(point, corners, image_size)


def guikv_point(text: Any, image_size: Size, *, model: str, model_size: Size | None = None) -> tuple[float, float]:
    """UI-TARS: the first argument of the first action, whatever the action; OpenCUA: ``opencua.grounding``.

    Raises:
        Unreadable: there is no such point.
    """
    if model == "opencua":
        return opencua.grounding(text, image_size, model_size=model_size)
    parsed = ui_tars.parse(text, image_size, model_size=model_size, empty_without_action=True)
    point = first_point(parsed[0]["action_inputs"]) if parsed else None
    if point is None:
        raise Unreadable("no_point", "IndexError")
    return point


def pro(point: Sequence[float] | None, corners: Sequence[float], image_size: Sequence[int]) -> Verdict:
    """Pro, target present: ``correctness`` is ``correct``, ``wrong``, or ``wrong_format`` for no point.

    Args:
        point: (x, y) as fractions, or None.
        corners: two corners in pixels; in the wrong order they contain nothing.
        image_size: (width, height).
    """
    at = pair_or_none(point)
    if at is None:
        return Verdict(0.0, "no_point", {"correctness": "wrong_format", "correct": 0, "wrong_format": 1, "point": None})
    hit = inside(at, fractions_of(corners, image_size))
    return Verdict(
        float(hit),
        "ok" if hit else "wrong",
        {"correctness": "correct" if hit else "wrong", "correct": int(hit), "wrong_format": 0, "point": list(at)},
    )


def pro_negative(result: Any) -> Verdict:
    """Pro, target absent: right if the model's wrapper says ``negative``, wrong for ``positive``."""
    word = {"negative": "correct", "positive": "wrong"}.get(result if isinstance(result, str) else "", "wrong_format")
    return Verdict(float(word == "correct"), "ok" if word == "correct" else word, {"correctness": word})


def pro_report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts and accuracies overall, by group, application and platform.

    Args:
        results: ``correctness``, ``ui_type`` (text or icon), and the attributes.
    """
    out: dict[str, Any] = {"overall": _counts(results)}
    for name, key, prefix in (
        ("by_group", "group", "group"),
        ("by_application", "application", "app"),
        ("by_platform", "platform", "plat"),
    ):
        values = list(dict.fromkeys(r.get(key) for r in results if r.get(key) is not None))
        out[name] = {f"{prefix}:{v}": _counts([r for r in results if r.get(key) == v]) for v in values}
    return out


def groups_report(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """v1 and v2 in every average that papers use.

    Args:
        rows: ``platform`` (mobile, desktop, web), ``data_type`` (text, icon), ``score``.

    Returns:
        ``micro``; ``groups`` per platform and type; ``macro`` (mean of the groups, SeeClick's table); ``mean_of_means``
        (GUI-KV: mean of the mean text and the mean icon accuracy over platforms).
    """
    platforms = list(dict.fromkeys(r["platform"] for r in rows))
    groups: dict[str, dict[str, Any]] = {}
    for platform in platforms:
        for kind in ("text", "icon"):
            scores = [r["score"] for r in rows if r["platform"] == platform and r["data_type"] == kind]
            groups.setdefault(platform, {})[kind] = {"n": len(scores), "accuracy": mean(scores)}
    values = [g["accuracy"] for p in groups.values() for g in p.values() if g["accuracy"] is not None]
    pairs = [[groups[p][k]["accuracy"] or 0.0 for k in ("text", "icon")] for p in platforms]
    return {
        "n": len(rows),
        "micro": mean([r["score"] for r in rows]),
        "macro": mean(values),
        "groups": groups,
        "mean_of_means": guikv_report(pairs)["overall"],
    }


def guikv_report(platforms: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """Mean text, mean icon accuracy over platforms ([text, icon] each), and the mean of the two; 0 without any."""
    text = mean([p[0] for p in platforms]) or 0.0
    icon = mean([p[1] for p in platforms]) or 0.0
    return {"text": text, "icon": icon, "overall": (text + icon) / 2}


def vlmeval(text: Any, box: Sequence[float], image_size: Sequence[int], *, version: str = "v1v2") -> Verdict:
    """VLMEvalKit (ms-vlmeval 0.0.20).

    The first ``x=.., y=..`` (comma and one blank); none is the point (0, 0). If one coordinate is above 1 both are
    divided by the size of the image file.

    Args:
        text: the answer.
        box: x, y, width, height (``v1v2``) or two corners (``pro``), pixels.
        image_size: (width, height) of the file.
        version: ``v1v2`` or ``pro``.

    Returns:
        ``detail``: ``correct``, ``wrong_format``; ``error`` is set where the reference stops (box outside the image).
    """
    x1, y1, x2, y2 = box
    if version == "v1v2":
        x2, y2 = x1 + x2 - 1, y1 + y2 - 1
    corners = fractions_of([0 if v == -1 else v for v in (x1, y1, x2, y2)], image_size)
    outside = any(v < 0 or v > 1 for v in corners)
    try:
        x, y = vlmeval_point(text)
    except Unreadable as error:
        return Verdict(0.0, error.reason, {"correct": 0, "wrong_format": 1})
    if x > 1 or y > 1:
        x, y = x / image_size[0], y / image_size[1]
    hit = inside((x, y), corners) and not outside
    return Verdict(
        float(hit),
        "box_outside_image" if outside else "ok" if hit else "wrong",
        {"correct": int(hit), "wrong_format": 0},
        error="ValueError" if outside else "",
    )


def vlmeval_point(text: Any) -> tuple[float, float]:
    """VLMEvalKit's reading of a click.

    Raises:
        Unreadable: the pattern is there, but not with numbers (two dots).
    """
    found = _CLICK.search(bounded(text))
    if not found:
        return 0.0, 0.0
    try:
        return float(found[1]), float(found[2])
    except ValueError as error:
        raise Unreadable("not_a_number") from error


def vlmeval_report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """VLMEvalKit's summary in percent; None where it has nothing to average.

    Args:
        results: ``correct`` (1, 0), optional ``wrong_format``, ``ui_type`` or ``data_type``, optional ``category``.

    Raises:
        RuleUndefined: no results.
    """
    if not results:
        raise RuleUndefined("no results")
    stats: dict[str, list[int]] = {}
    for r in results:
        kind = r["ui_type"] if "ui_type" in r else r["data_type"]
        key = f"{r['category']}:{kind}" if "category" in r else kind
        stats.setdefault(key, []).append(-1 if r.get("wrong_format") else int(r["correct"]))
    everything = [v for group in stats.values() for v in group]
    out: dict[str, Any] = {f"{key}:cnt": len(v) for key, v in stats.items()}
    out["Overall_Accuracy"] = sum(v > 0 for v in everything) / len(everything) * 100
    out["Format_Err_Rate"] = sum(v < 0 for v in everything) / len(everything) * 100
    out["Text_Accuracy"] = _squared([v for k, v in stats.items() if k.endswith("text")])
    out["Icon_Accuracy"] = _squared([v for k, v in stats.items() if k.endswith("icon")])
    for category in dict.fromkeys(r["category"] for r in results if "category" in r):
        out[f"{category}_Accuracy"] = _squared([v for k, v in stats.items() if k.split(":")[0] == category])
    return out


def _squared(groups: Sequence[Sequence[int]]) -> float | None:
    """Every group is counted once per member: the weights are squared sizes."""
    weight = sum(len(g) ** 2 for g in groups)
    return sum(len(g) * sum(v > 0 for v in g) for g in groups) / weight * 100 if weight else None


def _counts(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def accuracy(rows: Sequence[Mapping[str, Any]]) -> float:
        return sum(r["correctness"] == "correct" for r in rows) / len(rows) if rows else 0

    return {
        "num_correct_action": sum(r["correctness"] == "correct" for r in results),
        "num_total": len(results),
        "wrong_format_num": sum(r["correctness"] == "wrong_format" for r in results),
        "action_acc": accuracy(results),
        "text_acc": accuracy([r for r in results if r.get("ui_type") == "text"]),
        "icon_acc": accuracy([r for r in results if r.get("ui_type") == "icon"]),
    }


def _in_box(point: tuple[float, float], corners: Sequence[float]) -> Verdict:
    hit = inside(point, corners)
    return Verdict(float(hit), "ok" if hit else "wrong", {"correct": int(hit), "wrong_format": 0, "point": list(point)})


def _wrong_format(reason: str) -> Verdict:
    return Verdict(0.0, reason, {"correct": 0, "wrong_format": 1, "point": None})
