"""UI-Vision (eval/grounding/eval_uivision.py): element grounding and layout grounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..verdict import Verdict
from .geometry import fractions_of, inside, mean, ordered, pair_or_none


def element(point: Any, corners: Sequence[float], image_size: Sequence[int]) -> Verdict:
    """Point (fractions) in the box, borders inside; swapped corners of the annotation are put in order.

    Args:
        point: (x, y), or None for an unreadable answer. A list without two numbers stops the reference.
        corners: two corners in pixels.
        image_size: (width, height).

    Returns:
        ``detail``: ``correctness``: ``correct``, ``wrong`` or ``wrong_format``.
    """
    if point is None:
        return Verdict(0.0, "no_point", {"correctness": "wrong_format"})
    at = pair_or_none(point)
    if at is None:
        return Verdict(0.0, "no_point", {"correctness": "wrong_format"}, error="IndexError")
    hit = inside(at, fractions_of(ordered(corners), image_size))
    return Verdict(float(hit), "ok" if hit else "wrong", {"correctness": "correct" if hit else "wrong"})


def element_report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of ``correctness`` and accuracy of one subset; 0 without results."""
    right = sum(r["correctness"] == "correct" for r in results)
    return {
        "num_correct_action": right,
        "num_total": len(results),
        "wrong_format_num": sum(r["correctness"] == "wrong_format" for r in results),
        "action_acc": right / len(results) if results else 0,
    }


def subsets_report(subsets: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The published value: plain mean of the accuracies of basic, functional and spatial; micro accuracy beside it."""
    parts = {name: element_report(rows) for name, rows in subsets.items()}
    return {
        "score": mean([p["action_acc"] for p in parts.values()]),
        "subsets": parts,
        "micro": element_report([r for rows in subsets.values() for r in rows])["action_acc"],
    }


def layout(predicted: Any, corners: Sequence[float]) -> Verdict:
    """Overlap of two boxes in pixels; the score is the IoU.

    ``precision`` is intersection / annotated area and ``recall`` is intersection / predicted area: the reference's
    names, the other way round than usual. No box, or one with corners in the wrong order, gives 0 everywhere; a swapped
    annotation is not repaired.
    """
    names = ("iou", "precision", "recall", "intersection", "pred_area", "gt_area")
    box = _box(predicted)
    if box is None or box[0] >= box[2] or box[1] >= box[3]:
        return Verdict(0.0, "no_box", dict.fromkeys(names, 0.0))
    true = corners
    shared = max(0, min(box[2], true[2]) - max(box[0], true[0])) * max(0, min(box[3], true[3]) - max(box[1], true[1]))
    said_area, true_area = _area(box), _area(true)
    union = said_area + true_area - shared
    values = (
        shared / union if union > 0 else 0,
        shared / true_area if true_area > 0 else 0,
        shared / said_area if said_area > 0 else 0,
        shared,
        said_area,
        true_area,
    )
    return Verdict(float(values[0]), "ok", {k: float(v) for k, v in zip(names, values, strict=True)})


def layout_report(details: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Means and population standard deviations of ``iou``, ``precision`` and ``recall``; None without any."""
    out: dict[str, float | None] = {}
    for key in ("iou", "precision", "recall"):
        values = [d[key] for d in details]
        out[f"mean_{key}"] = float(np.mean(values)) if values else None
        out[f"std_{key}"] = float(np.std(values)) if values else None
    return out


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _box(value: Any) -> tuple[float, float, float, float] | None:
    if not isinstance(value, (list, tuple)) or len(value) < 4:
        return None
    first, second = pair_or_none(value[:2]), pair_or_none(value[2:4])
    return (*first, *second) if first and second else None
