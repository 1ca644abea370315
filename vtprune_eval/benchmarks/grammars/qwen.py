"""Qwen2.5-VL and Qwen3-VL: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``.

``agentnetbench`` is the reader of AgentNetBench's Qwen2.5-VL agent: a tool call becomes a line of pyautogui code that
is then searched, so a typed text ends at its first quote; calls without a closing tag are lost to it
(``closed_calls``). ``tool_calls`` finds the calls of either tool in every form that the models write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...json_values import JsonObject
from ...models.resize_variants import Size, agentnetbench_qwen
from ..action import Action, invalid
from ..untrusted import Unreadable, bounded, json_value, number_pair
from .common import finish, scaled

Pair = tuple[str, Any]
MAX_CALLS = 32
_CALL_STARTS = re.compile(
    r"""<function=(?P<function>[\w.-]{1,80})>|(?P<before>)\{\s{0,8}"(?:name|arguments|action)"\s{0,4}:"""
)
_PARAMETER = re.compile(r"<parameter=([\w.-]{1,80})>(.*?)(?:</parameter>|(?=<parameter=)|$)", re.DOTALL)
_QUOTE = re.compile(r"['\"\n]")
_MOUSE = {
    "left_click": "click",
    "right_click": "rightClick",
    "double_click": "doubleClick",
    "mouse_move": "moveTo",
    "left_click_drag": "dragTo",
}


def tool_calls(text: Any) -> list[JsonObject]:
    """Every readable tool call: JSON, with or without the closing tag, or ``<function=..><parameter=..>`` (Qwen3.5);
    arguments may be JSON written as text.

    Raises:
        Unreadable: no text, or too long.
    """
    text = bounded(text)
    calls: list[JsonObject] = []
    at = 0
    for start in _CALL_STARTS.finditer(text):
        if start.start() < at or len(calls) >= MAX_CALLS:
            continue
        found = _function(text, start) if start["function"] else _object(text, start.end("before"))
        if found is not None:
            call, at = found
            calls.append(call)
    return calls


def _object(text: str, at: int) -> tuple[JsonObject, int] | None:
    """The call in the JSON object that starts at ``at``, and where it ends."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    name, arguments = value.get("name", ""), value.get("arguments", value if "action" in value else None)
    if isinstance(arguments, str):
        try:
            arguments = json_value(arguments)
        except Unreadable:
            return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return {"name": name, "arguments": arguments}, end


def _function(text: str, start: re.Match[str]) -> tuple[JsonObject, int]:
    """The call of a ``<function=NAME>`` tag; values are JSON where they can be read as JSON, else text."""
    end = text.find("</function>", start.end())
    end = len(text) if end < 0 else end
    arguments: JsonObject = {}
    for key, value in _PARAMETER.findall(text[start.end() : end]):
        value = value.strip("\r\n")
        try:
            arguments[key] = value if key == "text" else json.loads(value)
        except (ValueError, RecursionError):
            arguments[key] = value.strip()
    return {"name": start["function"], "arguments": arguments}, end


def closed_calls(text: Any) -> list[JsonObject]:
    """Tool calls as AgentNetBench's agent finds them: between the tags; without tags, one JSON object per line.

    Raises:
        Unreadable: no text, or too long.
    """
    text = bounded(text)
    blocks, at = [], text.find("<tool_call>")
    while at >= 0:
        end = text.find("</tool_call>", at)
        if end < 0:
            break
        blocks.append(text[at + len("<tool_call>") : end].strip())
        at = text.find("<tool_call>", end)
    if not blocks:
        stripped = (line.strip() for line in text.split("\n"))
        blocks = [line for line in stripped if line.startswith("{") and line.endswith("}")]
    calls = []
    for block in blocks:
        try:
            value = json_value(block)
        except Unreadable:
            continue
        if isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("arguments"), dict):
            calls.append(value)
    return calls


def agentnetbench(text: Any, image_size: Size, *, model_size: Size | None = None) -> list[Pair]:
    """(type, value) pairs with coordinates as fractions of the resized image.

    Middle clicks and waits give no action. A scroll without an earlier ``moveTo`` gets one to the centre.

    Args:
        text: what the model wrote.
        image_size: (width, height) of the image file.
        model_size: (width, height) that the model saw; default: the agent's own resize.

    Raises:
        Unreadable: no text, too long, or an image that cannot be resized.
    """
    calls = [c["arguments"] for c in closed_calls(text) if c["name"] == "computer_use"]
    try:
        size = model_size or agentnetbench_qwen(*image_size)
    except ValueError as error:
        raise Unreadable("image_refused") from error
    actions: list[Pair] = []
    for arguments in calls:
        found = _pair(arguments, size)
        if found is None:
            continue
        if found[0] == "scroll" and not any(a[0] == "moveTo" for a in actions):
            actions.append(("moveTo", (0.5, 0.5)))
        actions.append(found)
    return actions


def _pair(arguments: JsonObject, size: Size) -> Pair | None:
    name = arguments.get("action")
    if not isinstance(name, str):
        return None
    if name in _MOUSE:
        pair = number_pair(arguments.get("coordinate"))
        return (_MOUSE[name], (pair[0] / size[0], pair[1] / size[1])) if pair else None
    if name == "type":
        text = arguments.get("text")
        # The text went through code with quotes: it ends at the first quote or line break.
        return ("write", _QUOTE.split(text, maxsplit=1)[0]) if isinstance(text, str) and _QUOTE.split(text)[0] else None
    if name == "key":
        keys = arguments.get("keys")
        keys = [keys] if isinstance(keys, str) else keys
        if not isinstance(keys, list) or not keys or not all(isinstance(k, str) for k in keys):
            return None
        keys = ["ctrl" if k.strip().lower() in ("cmd", "command") else k.strip() for k in keys]
        return ("press" if len(keys) == 1 else "hotkey", keys)
    if name == "scroll":
        pixels = arguments.get("pixels")
        return ("scroll", pixels) if isinstance(pixels, int) and not isinstance(pixels, bool) else None
    if name == "terminate":
        status = arguments.get("status")
        return ("terminate", status) if isinstance(status, str) else None
    return None


def action(text: str, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer in common form."""
    calls = tool_calls(text)
    if not calls:
        return invalid("no_tool_call")
    arguments = calls[0]["arguments"]
    kind = arguments.get("action")
    pointed = {
        "left_click": "tap",
        "click": "tap",
        "double_click": "double_tap",
        "right_click": "right_tap",
        "triple_click": "triple_tap",
        "mouse_move": "move",
        "long_press": "long_press",
    }
    if not isinstance(kind, str):
        return invalid("no_action")
    if kind in pointed:
        return Action(pointed[kind], point=scaled(arguments.get("coordinate"), frame))
    if kind == "swipe":
        return Action(
            "swipe", point=scaled(arguments.get("coordinate"), frame), end=scaled(arguments.get("coordinate2"), frame)
        )
    if kind == "left_click_drag":
        return Action("drag", end=scaled(arguments.get("coordinate"), frame))
    if kind in ("type", "select", "answer", "open"):
        at = scaled(arguments["coordinate"], frame) if "coordinate" in arguments else None
        return Action(kind, point=at, text=str(arguments.get("text", "")))
    if kind == "key":
        keys = arguments.get("keys", arguments.get("text", []))
        keys = [keys] if isinstance(keys, str) else keys if isinstance(keys, list) else []
        return Action("key" if len(keys) == 1 else "hotkey", keys=tuple(map(str, keys))) if keys else invalid("no_key")
    if kind in ("scroll", "hscroll"):
        pixels = arguments.get("pixels")
        if not isinstance(pixels, (int, float)):
            return invalid("no_amount")
        ways = ("up", "down") if kind == "scroll" else ("left", "right")
        return Action("scroll", amount=pixels, direction=ways[pixels < 0])
    if kind == "system_button":
        return Action("button", text=str(arguments.get("button", "")).lower())
    if kind == "terminate":
        return finish(str(arguments.get("status", "")))
    return Action("wait") if kind == "wait" else invalid("unknown_action")
