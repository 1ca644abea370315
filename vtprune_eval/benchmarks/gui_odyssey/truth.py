"""GUI-Odyssey's annotations in common form."""

from __future__ import annotations

from ..action import OPPOSITE, Action
from ..untrusted import NoCounterpart


def annotated(answer: str) -> Action:
    """GUI-Odyssey's string in common form; a scroll as the swipe that its word describes.

    Raises:
        Unreadable: no such string.
    """
    name, _, info = (part.strip() for part in answer.partition(":"))
    if name in ("CLICK", "LONG_PRESS"):
        numbers = info.strip("() ").split(",")
        try:
            point = float(numbers[0]) / 1000, float(numbers[1]) / 1000
        except (ValueError, IndexError) as error:
            raise NoCounterpart("annotation_unknown") from error
        return Action("tap" if name == "CLICK" else "long_press", point=point)
    if name == "SCROLL" and info.lower() in OPPOSITE:
        return Action("scroll", direction=OPPOSITE[info.lower()])
    if name == "TYPE":
        return Action("type", text=info)
    if name.startswith("PRESS_"):
        return Action("button", text=name.removeprefix("PRESS_").lower())
    if name in ("COMPLETE", "IMPOSSIBLE"):
        return Action("finish", status="success" if name == "COMPLETE" else "impossible")
    raise NoCounterpart("annotation_unknown")
