"""UI-Vision (eval/grounding/eval_uivision.py): element grounding and layout grounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..json_values import JsonObject
from ..sample import Score, graded, unreadable
from .base import Item, Records, need, numbers
from .benchmark import FixedRules, Frame, Record, Rule, Truth, by_meta
from .formats.listed import Listed
from .grammars.pointing import pointed
from .rules.geometry import fractions_of, inside, mean, ordered, pair_or_none
from .rules.pointed import the_point
from .spec import TaskSpec
from .untrusted import Unreadable


class _Records(Listed):
    """``annotations/element_grounding/element_grounding_SUBSET.json``; corners may be swapped."""

    image_key = "image_path"

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        self.roots = (".", "images")
        below = folder / "annotations" / "element_grounding"
        files = [(s, below / f"element_grounding_{s}.json") for s in ("basic", "functional", "spatial")]
        files = [(s, f) for s, f in files if f.is_file()]
        if not files:
            raise UserError(
                f"{folder} has no annotations/element_grounding/element_grounding_*.json; give the folder "
                f"of {spec.source} with --data-path."
            )
        super().__init__(folder, files)

    def make_id(self, note: tuple[str | None, str], name: str, i: int) -> str:
        return f"{name}-{i}"

    def build(self, id: str, record: Any, group: str, where: str) -> Item:
        corners = numbers(record, "bbox", where, 4)
        return Item(
            id=id,
            images=self.image(record, where),
            fields={"instruction": need(record, "prompt_to_evaluate", where, str)},
            target={
                "type": "box",
                "box_xyxy": list(ordered(corners)),
                "truth": {"corners": corners, "image_size": numbers(record, "image_size", where, 2)},
            },
            meta={"subset": group, "application": record.get("platform"), "element_type": record.get("element_type")},
        )


def _compare(said: Any, truth: Truth, frame: Frame) -> Score:
    return element(said, truth["corners"], truth["image_size"])


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    return error.score({"correctness": "wrong_format"})


class UIVision(FixedRules):
    """Elements. ``truth``: ``corners`` in pixels and ``image_size``."""

    name = "ui_vision"
    groups = ("subset", "element_type")
    _rules = {"official": Rule(_compare, enter=the_point, understand=pointed, refused=_refused)}  # noqa: RUF012

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return _Records(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        return subsets_report(
            {
                subset: [{"correctness": r["parts"].get("correctness") or "wrong"} for r in rows]
                for subset, rows in sorted(by_meta(records, "subset").items())
            }
        )


def element(point: Any, corners: Sequence[float], image_size: Sequence[int]) -> Score:
    """Point (fractions) in the box, borders inside; swapped corners of the annotation are put in order.

    Args:
        point: (x, y), or None for an unreadable answer. A list without two numbers stops the reference.
        corners: two corners in pixels.
        image_size: (width, height).

    Returns:
        ``parts``: ``correctness``: ``correct``, ``wrong`` or ``wrong_format``.
    """
    at = None if point is None else pair_or_none(point)
    if at is None:
        error = "" if point is None else "IndexError"
        return unreadable("no_point", {"correctness": "wrong_format"}, error=error)
    hit = inside(at, fractions_of(ordered(corners), image_size))
    return graded(hit, {"correctness": "correct" if hit else "wrong"})


def element_report(results: Sequence[Mapping[str, Any]]) -> JsonObject:
    """Counts of ``correctness`` and accuracy of one subset; 0 without results."""
    right = sum(r["correctness"] == "correct" for r in results)
    return {
        "num_correct_action": right,
        "num_total": len(results),
        "wrong_format_num": sum(r["correctness"] == "wrong_format" for r in results),
        "action_acc": right / len(results) if results else 0,
    }


def subsets_report(subsets: Mapping[str, Sequence[Mapping[str, Any]]]) -> JsonObject:
    """The published value: plain mean of the accuracies of basic, functional and spatial; micro accuracy beside it."""
    parts = {name: element_report(rows) for name, rows in subsets.items()}
    return {
        "score": mean([p["action_acc"] for p in parts.values()]),
        "subsets": parts,
        "micro": element_report([r for rows in subsets.values() for r in rows])["action_acc"],
    }


def layout(predicted: Any, corners: Sequence[float]) -> Score:
    """Overlap of two boxes in pixels; the score is the IoU.

    ``precision`` is intersection / annotated area and ``recall`` is intersection / predicted area: the reference's
    names, the other way round than usual. No box, or one with corners in the wrong order, gives 0 everywhere; a swapped
    annotation is not repaired.
    """
    names = ("iou", "precision", "recall", "intersection", "pred_area", "gt_area")
    box = _box(predicted)
    if box is None or box[0] >= box[2] or box[1] >= box[3]:
        return unreadable("no_box", dict.fromkeys(names, 0.0))
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
    return graded(values[0], {k: float(v) for k, v in zip(names, values, strict=True)})


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
