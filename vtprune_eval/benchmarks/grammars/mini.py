"""The embedded suite: ``tap X Y`` (or ``click``), ``type TEXT``, ``scroll up|down``, ``back``, ``done``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..action import Action, invalid
from ..answers import MAX_CHARS, first_point, fraction

_ACTION = re.compile(r"\b(tap|click|type|scroll|back|done)\b[ \t]*([^\n,]*)", re.IGNORECASE)


def parse_action(text: str, frame: dict[str, Any]) -> dict[str, Any] | None:
    """The action of an answer in the mini suite's grammar.

    ``tap X Y`` (or ``click``), ``type TEXT``, ``scroll up|down``, ``back``, ``done``.

    Returns:
        e.g. ``{"type": "tap", "point": [0.37, 0.82]}``, or None if nothing can be read.
    """
    match = _ACTION.search(text[:MAX_CHARS])
    if not match:
        return None
    word, rest = match[1].lower(), match[2].strip()
    if word in {"tap", "click"}:
        pair = first_point(rest)
        at = fraction(pair, frame) if pair else None
        return {"type": "tap", "point": list(at)} if at else None
    if word == "type":
        return {"type": "type", "text": rest} if rest else None
    if word == "scroll":
        way = rest.split()[0].lower() if rest.split() else ""
        return {"type": "scroll", "direction": way} if way in {"up", "down", "left", "right"} else None
    return {"type": "back" if word == "back" else "finish"}


def action(text: str, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer in common form."""
    said = parse_action(text, dict(frame))
    if said is None:
        return invalid("no_action")
    if said["type"] == "tap":
        x, y = said["point"]
        return Action("tap", point=(x, y))
    if said["type"] in ("back", "finish"):
        return Action("button", text="back") if said["type"] == "back" else Action("finish", status="success")
    return Action(said["type"], text=said.get("text", ""), direction=said.get("direction", ""))
