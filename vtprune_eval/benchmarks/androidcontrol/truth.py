"""AndroidControl's annotations in common form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..action import Action
from ..untrusted import NoCounterpart

Truth = Mapping[str, Any]


def annotated(action: Truth, size: Sequence[int]) -> Action:
    """An AndroidControl annotation (pixels of a screen of ``size``) in common form; scroll words name the content.

    Raises:
        Unreadable: an unknown action type.
    """
    kind = action.get("action_type")
    at = (action["x"] / size[0], action["y"] / size[1]) if "x" in action and "y" in action else None
    if kind in ("click", "long_press"):
        return Action("tap" if kind == "click" else kind, point=at)
    if kind in ("type_text", "input_text", "type"):
        return Action("type", point=at, text=action.get("text") or "")
    if kind == "scroll":
        return Action("scroll", direction=action.get("direction") or "")
    if kind == "open_app":
        return Action("open", text=action.get("app_name") or "")
    if kind in ("navigate_back", "navigate_home"):
        return Action("button", text=kind.removeprefix("navigate_"))
    if kind == "wait":
        return Action("wait")
    if kind == "status":
        return Action("finish", status="success" if action.get("goal_status") == "successful" else "impossible")
    raise NoCounterpart("annotation_unknown")


def tree_boxes(tree: Sequence[Any], size: Sequence[int]) -> list[list[float]]:
    """Every node's box as y, x, height, width in fractions of a screen of ``size``."""
    out, waiting = [], list(tree)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, list):
            waiting[:0] = node
        elif isinstance(node, dict) and node.get("bbox_pixels"):
            b = node["bbox_pixels"]
            out.append(
                [
                    b["y_min"] / size[1],
                    b["x_min"] / size[0],
                    (b["y_max"] - b["y_min"]) / size[1],
                    (b["x_max"] - b["x_min"]) / size[0],
                ]
            )
    return out
