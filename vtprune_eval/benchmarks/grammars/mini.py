"""The embedded suite: ``tap X Y`` (or ``click``), ``type TEXT``, ``scroll up|down``, ``back``, ``done``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...json_values import JsonObject
from ..action import Action, content_direction, invalid, phone_word
from ..answers import MAX_CHARS, final, first_point, fraction, plain_signs
from ..untrusted import Unreadable
from . import qwen

_ACTION = re.compile(r"\b(tap|click|type|scroll|back|done)\b[ \t]*([^\n]*)", re.IGNORECASE)


def parse_action(text: str, frame: Mapping[str, Any]) -> JsonObject | None:
    """The action of an answer in the mini suite's grammar, or of a tool call.

    Returns:
        e.g. ``{"type": "tap", "point": [0.37, 0.82]}``, or None if nothing can be read.
    """
    text = plain_signs(final(text)[:MAX_CHARS])
    match = _ACTION.search(text)
    if "{" in text or "<function=" in text:  # the words of the grammar are values of a tool call, too
        said = _of_call(text, frame)
        if said is not None:
            return said
    if not match:
        return None
    word, line = match[1].lower(), match[2].strip()
    rest = line.partition(",")[0].strip()  # what follows a comma would be a further action
    if word in {"tap", "click"}:
        pair = first_point(line)
        at = fraction(pair, frame) if pair else None
        return {"type": "tap", "point": list(at)} if at else None
    if word == "type":
        return {"type": "type", "text": rest} if rest else None
    if word == "scroll":
        way = rest.split()[0].lower() if rest.split() else ""
        return {"type": "scroll", "direction": way} if way in {"up", "down", "left", "right"} else None
    return {"type": "back" if word == "back" else "finish"}


def _of_call(text: str, frame: Mapping[str, Any]) -> JsonObject | None:
    try:
        said = qwen.action(text, frame)
    except Unreadable:
        return None
    word = phone_word(said)
    if word == "tap" and said.point:
        return {"type": "tap", "point": list(said.point)}
    if word == "type" and said.text:
        return {"type": "type", "text": said.text}
    if word == "scroll":
        try:
            return {"type": "scroll", "direction": content_direction(said)}
        except Unreadable:
            return None
    if word == "button" and said.text == "back":
        return {"type": "back"}
    return {"type": "finish"} if word == "finish" else None


def action(text: str, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer in common form."""
    said = parse_action(text, frame)
    if said is None:
        return invalid("no_action")
    if said["type"] == "tap":
        x, y = said["point"]
        return Action("tap", point=(x, y))
    if said["type"] in ("back", "finish"):
        return Action("button", text="back") if said["type"] == "back" else Action("finish", status="success")
    return Action(said["type"], text=said.get("text", ""), direction=said.get("direction", ""))
