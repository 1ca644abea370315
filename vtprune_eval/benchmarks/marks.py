"""Where the target of a record lies on its screen, in a form that every picture can draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .judges.phone import aitw_fractions, tree_boxes
from .protocols.androidcontrol import smallest_node

# (kind, numbers in pixels of the file): "box" and "faint" x1 y1 x2 y2, "point" x y, "arrow" x1 y1 x2 y2, "polygon".
Mark = tuple[str, list[float]]


def marks_of(benchmark: str, target: Mapping[str, Any], size: Sequence[int]) -> list[Mark]:
    """What to draw of a target on a screen of ``size`` (width, height), in pixels of the file."""
    width, height = size
    truth = target.get("truth") or {}
    marks: list[Mark] = []
    if benchmark == "aitw":
        truth = aitw_fractions(truth, size)
        flat = truth["annot_position"]
        for y, x, h, w in zip(flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=False):
            marks.append(("faint", [x * width, y * height, (x + w) * width, (y + h) * height]))
        if truth["action_type_id"] == 4:
            touch = [truth["touch"][0] * width, truth["touch"][1] * height]
            lift = [truth["lift"][0] * width, truth["lift"][1] * height]
            marks.append(("point", touch) if truth["action_type_text"] == "click" else ("arrow", touch + lift))
    elif benchmark == "androidcontrol":
        action, tree = truth["action"], truth.get("accessibility_tree") or []
        for y, x, h, w in tree_boxes(tree, size):
            marks.append(("faint", [x * width, y * height, (x + w) * width, (y + h) * height]))
        if "x" in action:
            node = smallest_node(action["x"], action["y"], tree)
            if node:
                b = node["bbox_pixels"]
                marks.append(("box", [b["x_min"], b["y_min"], b["x_max"], b["y_max"]]))
            marks.append(("point", [action["x"], action["y"]]))
    elif benchmark == "gui_odyssey":
        box = truth.get("sam2_bbox")
        if box:
            marks.append(("box", [v / 1000 * size[i % 2] for i, v in enumerate(box)]))
        name, _, info = truth["answer"].partition(":")
        if name in ("CLICK", "LONG_PRESS"):
            x, y = (float(v) / 1000 for v in info.strip(" ()").split(","))
            marks.append(("point", [x * width, y * height]))
    elif benchmark == "agentnetbench":
        for action in truth["ground_truth_actions"]:
            for found in (action.get("metadata") or {}).get("bboxes") or []:
                x, y, w, h = found["rel_bbox"]
                marks.append(("box", [x * width, y * height, (x + w) * width, (y + h) * height]))
            place = (action.get("params") or {}).get("position")
            if place:
                marks.append(("point", [place["x"] * width, place["y"] * height]))
    elif target.get("type") == "region" and truth["box_type"] == "polygon" and len(truth["box_coordinates"]) >= 6:
        marks.append(("polygon", list(truth["box_coordinates"])))
    elif "box_xyxy" in target:
        marks.append(("box", list(target["box_xyxy"])))
    elif isinstance(target.get("action"), dict) and "box_xyxy" in target["action"]:  # the embedded suite
        marks.append(("box", list(target["action"]["box_xyxy"])))
    return marks
