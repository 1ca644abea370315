"""OS-Atlas: ``thoughts:`` and ``actions:`` headings, then ``CLICK <point>[[x,y]]</point>``, ``TYPE [text]`` ..."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..action import Action, invalid
from ..answers import first_point
from ..untrusted import Unreadable, bounded

_HEADING = "actions:\n"
# The script strips these characters, not the token that they spell: an action that ends in one of them loses it.
_STRIPPED = "<|im_end|>"
_INTEGER = re.compile(r"\d+")


def action_text(text: Any) -> str:
    """What follows the first ``actions:`` heading (up to a second one), without the end-of-turn characters.

    Raises:
        Unreadable: no heading, no text, too long.
    """
    parts = bounded(text).split(_HEADING)
    if len(parts) < 2:
        raise Unreadable("no_actions_heading", "")
    return parts[1].strip(_STRIPPED)


def integers(text: str) -> list[int]:
    """All runs of digits; ``500.4`` gives 500 and 4.

    Raises:
        Unreadable: a run longer than 300 digits.
    """
    runs = _INTEGER.findall(text)
    if any(len(run) > 300 for run in runs):
        raise Unreadable("number_too_long")
    return [int(run) for run in runs]


def action(text: str, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer in common form."""
    said = action_text(text).strip()
    name, _, rest = said.partition(" ")
    name = name.strip(":")
    inside = rest.strip().removeprefix("[").removesuffix("]")
    if name in ("CLICK", "LONG_PRESS"):
        at = first_point(rest)
        if at is None:
            return invalid("no_point")
        return Action("tap" if name == "CLICK" else "long_press", point=(at[0] / 1000, at[1] / 1000))
    if name == "TYPE":
        return Action("type", text=inside)
    if name == "OPEN_APP":
        return Action("open", text=inside)
    if name == "SCROLL":
        return Action("scroll", direction=inside.lower())
    if name in ("PRESS_BACK", "PRESS_HOME", "PRESS_RECENT", "ENTER"):
        return Action("button", text=name.removeprefix("PRESS_").lower())
    plain = {
        "WAIT": Action("wait"),
        "COMPLETE": Action("finish", status="success"),
        "IMPOSSIBLE": Action("finish", status="impossible"),
    }
    return plain.get(name) or invalid("unknown_action")
