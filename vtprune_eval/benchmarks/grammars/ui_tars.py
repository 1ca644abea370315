"""UI-TARS: ``Thought: ...`` and ``Action: name(argument='...')``.

The rules of UI-TARS's own reader (codes/ui_tars/action_parser.py) and of GUI-KV's copy of it (eval/ui_tars_utils.py),
which differ in one point: no ``Action:`` raises in the first and gives no actions in the second. Consequences of those
rules, kept on purpose: the words ``point=`` are replaced everywhere, also inside typed text; a real line break inside
``type`` cannot be read; a missing closing bracket is repaired; four numbers stay four.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...json_values import JsonObject
from ...models.resize_variants import UI_TARS_MAX_PIXELS, UI_TARS_MIN_PIXELS, Size, ui_tars
from ..action import Action, invalid
from ..answers import place, plain_signs
from ..untrusted import Unreadable, bounded, call
from .common import finish, sizes

_POINT = re.compile(r"<point>(\d{1,300})\s+(\d{1,300})</point>")
_FREE_QUOTE = re.compile(r"(?<!\\)'")
_HISTORY_BOX = re.compile(r"(start_box|end_box)='\((\d+),(\d+)\)'")
# Numbers in a tag of their own, decimals included, which the authors' reader takes for text.
_BOX = re.compile(r"<(?:bbox|box|point)>\s{0,4}\(?([-\d.eE+,\s]{3,120}?)\)?\s{0,4}</(?:bbox|box|point)>")
_TYPE_HEAD, _TYPE_TAIL = "type(content='", "')"


def parse(
    text: Any,
    image_size: Size,
    *,
    coordinates: str = "resized_pixels",
    model_size: Size | None = None,
    empty_without_action: bool = False,
) -> list[JsonObject]:
    """Actions of an answer.

    Args:
        text: what the model wrote.
        image_size: (width, height) of the image file.
        coordinates: ``resized_pixels`` (UI-TARS-1.5) or ``thousandths`` (the first generation).
        model_size: (width, height) that the model really saw; default: UI-TARS's own resize of ``image_size``.
        empty_without_action: GUI-KV's copy: no ``Action:`` gives no actions instead of a refusal.

    Returns:
        One dictionary per action: ``action_type``, ``action_inputs`` (boxes as lists of fractions, a pair doubled to
        four numbers, everything else as text), ``thought``, ``reflection``.

    Raises:
        Unreadable: any of the actions cannot be read.
    """
    text = bounded(text).strip()
    if "<point>" in text:
        text = _POINT.sub(lambda m: f"({int(m[1])},{int(m[2])})", text.replace("[EOS]", "")).strip()
    text = text.replace("start_point=", "start_box=").replace("end_point=", "end_box=").replace("point=", "start_box=")
    if coordinates == "resized_pixels":
        try:
            scale = model_size or ui_tars(*image_size, min_pixels=UI_TARS_MIN_PIXELS, max_pixels=UI_TARS_MAX_PIXELS)
        except ValueError as error:
            raise Unreadable("image_refused") from error
    else:
        scale = (1000, 1000)
    thought, reflection = _thought(text)
    if "Action:" not in text:
        if empty_without_action:
            return []
        raise Unreadable("no_action", "AssertionError")
    pieces = [_repaired(piece) for piece in text.rpartition("Action: ")[2].split(")\n\n")]
    calls = [call(piece.replace("\n", "\\n").lstrip()) for piece in pieces]
    return [
        {"action_type": name, "action_inputs": _inputs(arguments, scale), "thought": thought, "reflection": reflection}
        for name, arguments in calls
    ]


def _thought(text: str) -> tuple[str | None, str | None]:
    """(thought, reflection): the text up to the first ``Action: `` after the heading."""
    reflection = None
    if text.startswith("Reflection:"):
        head = "Action_Summary: "
        first = text.find("Reflection: ")
        start = text.find(head, first + len("Reflection: ") + 1) if first >= 0 else -1
        if start < 0:
            return None, None
        reflection = text[first + len("Reflection: ") : start].strip()
    else:
        head = "Action_Summary: " if text.startswith("Action_Summary:") else "Thought: "
        start = text.find(head)
    start += len(head)
    if start < len(head) or start >= len(text):
        return None, None
    end = text.find("Action: ", start + 1)
    if end < 0:
        return text[start:].strip(), reflection
    # Blanks before the word do not belong to the thought, but one character of it always does.
    return text[start : max(start + 1, len(text[:end].rstrip()))].strip(), reflection


def _repaired(piece: str) -> str:
    """One action with its closing bracket; quotes inside ``type`` escaped."""
    if "type(content" in piece:
        if not piece.strip().endswith(")"):
            piece = piece.strip() + ")"
        content, found = _typed(piece)
        if not found:
            raise Unreadable("type_without_content")
        piece = _TYPE_HEAD + _FREE_QUOTE.sub("\\'", content) + _TYPE_TAIL
    return piece if piece.strip().endswith(")") else piece.strip() + ")"


def _typed(piece: str) -> tuple[str, bool]:
    """``piece`` with every one-line ``type(content='...')`` replaced by its content, and whether there was one."""
    out, at, found, start = [], 0, False, piece.find(_TYPE_HEAD)
    while start >= 0:
        inside = start + len(_TYPE_HEAD)
        end = piece.find(_TYPE_TAIL, inside)
        if end < 0:
            break
        if "\n" in piece[inside:end]:
            start = piece.find(_TYPE_HEAD, start + 1)
            continue
        out += [piece[at:start], piece[inside:end]]
        at, found = end + len(_TYPE_TAIL), True
        start = piece.find(_TYPE_HEAD, at)
    return "".join(out) + piece[at:], found


def _inputs(arguments: dict[str | None, Any], scale: Size) -> JsonObject:
    inputs: JsonObject = {}
    for name, value in arguments.items():
        if value == "":
            continue
        if not isinstance(name, str) or not isinstance(value, str):
            raise Unreadable("argument_not_text", "AttributeError")
        value = value.lstrip()
        inputs[name] = value
        if "start_box" in name or "end_box" in name:
            try:
                numbers = [float(n) for n in value.replace("(", "").replace(")", "").split(",")]
                fractions = [n / scale[i % 2] for i, n in enumerate(numbers)]
            except (ValueError, ZeroDivisionError) as error:
                raise Unreadable("box_not_numbers") from error
            inputs[name] = fractions * 2 if len(fractions) == 2 else fractions
    return inputs


def add_box_token(text: str) -> str:
    """An answer as it goes back into the conversation: box tokens around whole-number coordinates written without a
    blank (GUI-KV, eval/*.py). A second ``Action: `` heading is lost."""
    if "Action: " not in text or "start_box=" not in text:
        return text
    head, *actions = text.split("Action: ")
    marked = [_HISTORY_BOX.sub(r"\1='<|box_start|>(\2,\3)<|box_end|>'", a.strip()) for a in actions]
    return head + "Action: " + "\n\n".join(marked)


def action(text: str, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer in common form; a box is its centre, a scroll with two ends a swipe."""
    stored, seen = sizes(frame)
    text = _BOX.sub(lambda m: "(" + ",".join(m[1].replace(",", " ").split()) + ")", plain_signs(text))
    parsed = parse(text, stored, coordinates=frame["coordinates"], model_size=seen)[0]
    kind, inputs = parsed["action_type"], parsed["action_inputs"]
    start, end = place(inputs.get("start_box")), place(inputs.get("end_box"))
    pointed = {"click": "tap", "left_double": "double_tap", "right_single": "right_tap", "long_press": "long_press"}
    if kind in pointed:
        return Action(pointed[kind], point=start) if start else invalid("no_point")
    if kind == "drag":
        return Action("drag", point=start, end=end) if start and end else invalid("no_point")
    if kind == "select":
        return Action("select", point=start, text=inputs.get("content", inputs.get("value", "")))
    if kind == "scroll" and start and end:
        return Action("swipe", point=start, end=end)
    if kind == "scroll":
        return Action("scroll", point=start, direction=inputs.get("direction", ""))
    if kind == "type":
        return Action("type", text=inputs.get("content", ""))
    if kind == "hotkey":
        return Action("hotkey", keys=tuple(inputs.get("key", "").split()))
    if kind == "open_app":
        return Action("open", text=inputs.get("app_name", ""))
    if kind in ("press_back", "press_home"):
        return Action("button", text=kind.removeprefix("press_"))
    if kind == "finished":
        return finish(inputs.get("content", ""))
    return Action("wait") if kind == "wait" else invalid("unknown_action")
