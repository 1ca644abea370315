"""One action type for every model family: ``parse(grammar, text, frame)``.

The scoring rules of published benchmarks start from a family's own reading (they depend on its accidents) and use the
readers of this folder directly; this common form is for rules that are our own, for drawing and for records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..answers import parse_action
from ..untrusted import Unreadable, bounded, number_pair
from . import opencua, osatlas, qwen, seeclick, ui_tars

Point = tuple[float, float]


@dataclass(frozen=True)
class Action:
    """What a model wants to do.

    Attributes:
        kind: ``tap``, ``double_tap``, ``right_tap``, ``triple_tap``, ``long_press``, ``move``, ``swipe``, ``scroll``,
            ``drag``, ``type``, ``select``, ``key``, ``hotkey``, ``button``, ``open``, ``wait``, ``answer``, ``finish``
            or ``invalid``.
        point: (x, y) as fractions of the screen; the start of a swipe or drag; of ``type`` and ``select`` where the
            model names the field.
        end: (x, y) as fractions, end of a swipe or drag.
        text: typed text, chosen option, app name, answer, or the button (``back``, ``home``, ``menu``, ``recent``,
            ``enter``).
        direction: ``up``, ``down``, ``left``, ``right`` in the family's own sense (see ``tasks`` pages: the word means
            the content in some data sets and the finger in others).
        amount: of a scroll, positive scrolls up.
        keys: of ``key`` and ``hotkey``.
        status: of ``finish``: ``success``, ``failure`` or ``impossible``.
        reason: of ``invalid``: why.
    """

    kind: str
    point: Point | None = None
    end: Point | None = None
    text: str = ""
    direction: str = ""
    amount: float | None = None
    keys: tuple[str, ...] = ()
    status: str = ""
    reason: str = ""


def invalid(reason: str) -> Action:
    """An answer that is no action."""
    return Action("invalid", reason=reason)


def parse(grammar: str, text: Any, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer.

    Args:
        grammar: a key of ``GRAMMARS``.
        text: what the model wrote; never evaluated.
        frame: ``file_sizes`` and ``model_sizes``: (width, height) of every image as stored and as the model saw it; the
            last one is the screen. ``coordinates``: ``resized_pixels``, ``thousandths`` or ``fractions``.

    Returns:
        The action, ``invalid`` with a reason where there is none. Points outside the screen are kept.

    Raises:
        KeyError: unknown grammar (a fault of the caller, not of the text).
    """
    reader = GRAMMARS[grammar]
    try:
        return reader(bounded(text), frame)
    except Unreadable as error:
        return invalid(error.reason)


def _sizes(frame: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    return tuple(frame["file_sizes"][-1]), tuple(frame["model_sizes"][-1])


def _scaled(pair: Any, frame: Mapping[str, Any]) -> Point:
    point = number_pair(pair)
    if point is None:
        raise Unreadable("no_point")
    kind = frame["coordinates"]
    width, height = (
        frame["model_sizes"][-1]
        if kind == "resized_pixels"
        else {"hundredths": (100, 100), "thousandths": (1000, 1000), "fractions": (1, 1)}[kind]
    )
    return point[0] / width, point[1] / height


def _finish(word: str) -> Action:
    word = word.lower()
    status = (
        "impossible"
        if "infeasible" in word or "impossible" in word
        else "failure"
        if "unsuccess" in word or "fail" in word
        else "success"
    )
    return Action("finish", status=status)


def _ui_tars(text: str, frame: Mapping[str, Any]) -> Action:
    stored, seen = _sizes(frame)
    parsed = ui_tars.parse(text, stored, coordinates=frame["coordinates"], model_size=seen)[0]
    kind, inputs = parsed["action_type"], parsed["action_inputs"]
    start, end = number_pair(inputs.get("start_box")), number_pair(inputs.get("end_box"))
    pointed = {"click": "tap", "left_double": "double_tap", "right_single": "right_tap", "long_press": "long_press"}
    if kind in pointed:
        return Action(pointed[kind], point=start) if start else invalid("no_point")
    if kind == "drag":
        return Action("drag", point=start, end=end) if start and end else invalid("no_point")
    if kind == "select":
        return Action("select", point=start, text=inputs.get("content", inputs.get("value", "")))
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
        return _finish(inputs.get("content", ""))
    return Action("wait") if kind == "wait" else invalid("unknown_action")


_CODE = {
    "click": "tap",
    "doubleClick": "double_tap",
    "rightClick": "right_tap",
    "triple_click": "triple_tap",
    "moveTo": "move",
}


def _from_pairs(actions: Sequence[tuple[str, Any]]) -> Action:
    """One action out of (type, value) pairs; ``moveTo`` belongs to the drag or scroll that follows it."""
    if not actions:
        return invalid("no_action")
    start, rest = None, list(actions)
    if rest[0][0] == "moveTo" and len(rest) > 1:
        start = number_pair(rest.pop(0)[1])
    name, value = rest[0]
    if name in _CODE:
        return Action(_CODE[name], point=value)
    if name == "dragTo":
        return Action("drag", point=start, end=value)
    if name == "scroll":
        return Action("scroll", point=start, amount=value, direction="down" if value < 0 else "up")
    if name == "write":
        return Action("type", text=value)
    if name in ("press", "hotkey"):
        return Action("key" if name == "press" else "hotkey", keys=tuple(value))
    return _finish(value) if name == "terminate" else invalid("unknown_action")


def _opencua(text: str, frame: Mapping[str, Any]) -> Action:
    stored, seen = _sizes(frame)
    # Fractions are answers of OpenCUA-Qwen2: the same lines, nothing to divide by.
    return _from_pairs(
        opencua.guikv(text, stored, model_size=seen if frame["coordinates"] == "resized_pixels" else (1, 1))
    )


def _qwen(text: str, frame: Mapping[str, Any]) -> Action:
    calls = qwen.tool_calls(text)
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
        return Action(pointed[kind], point=_scaled(arguments.get("coordinate"), frame))
    if kind == "swipe":
        return Action(
            "swipe", point=_scaled(arguments.get("coordinate"), frame), end=_scaled(arguments.get("coordinate2"), frame)
        )
    if kind == "left_click_drag":
        return Action("drag", end=_scaled(arguments.get("coordinate"), frame))
    if kind in ("type", "select", "answer", "open"):
        at = _scaled(arguments["coordinate"], frame) if "coordinate" in arguments else None
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
        return _finish(str(arguments.get("status", "")))
    return Action("wait") if kind == "wait" else invalid("unknown_action")


_SCROLL_IDS = {0: "down", 1: "up", 8: "left", 9: "right"}
_BUTTON_IDS = {5: "back", 6: "home", 7: "enter"}


def _seeclick(text: str, frame: Mapping[str, Any]) -> Action:
    said = seeclick.action(text)
    kind = said["action_type"]
    if isinstance(kind, bool) or not isinstance(kind, int):
        return invalid("action_type_not_a_number")
    if kind == 4:
        return Action("tap", point=_scaled(said.get("click_point"), frame))
    if kind in (2, 3):  # 2 is Mind2Web's select; there every action has a point
        at = _scaled(said["click_point"], frame) if "click_point" in said else None
        return Action(
            "type" if kind == 3 else "select", point=at, text=str(said.get("typed_text", said.get("value", "")))
        )
    if kind in _SCROLL_IDS:
        return Action("scroll", direction=_SCROLL_IDS[kind])
    if kind in _BUTTON_IDS:
        return Action("button", text=_BUTTON_IDS[kind])
    statuses = {10: "success", 11: "impossible"}
    return Action("finish", status=statuses[kind]) if kind in statuses else invalid("unknown_action")


def _osatlas(text: str, frame: Mapping[str, Any]) -> Action:
    said = osatlas.action_text(text).strip()
    name, _, rest = said.partition(" ")
    name = name.strip(":")
    inside = rest.strip().removeprefix("[").removesuffix("]")
    if name in ("CLICK", "LONG_PRESS"):
        numbers = osatlas.integers(rest)
        if len(numbers) != 2:
            return invalid("no_point")
        return Action("tap" if name == "CLICK" else "long_press", point=(numbers[0] / 1000, numbers[1] / 1000))
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


def _mini(text: str, frame: Mapping[str, Any]) -> Action:
    said = parse_action(text, dict(frame))
    if said is None:
        return invalid("no_action")
    if said["type"] == "tap":
        x, y = said["point"]
        return Action("tap", point=(x, y))
    if said["type"] in ("back", "finish"):
        return Action("button", text="back") if said["type"] == "back" else Action("finish", status="success")
    return Action(said["type"], text=said.get("text", ""), direction=said.get("direction", ""))


GRAMMARS: dict[str, Callable[[str, Mapping[str, Any]], Action]] = {
    "ui_tars": _ui_tars,
    "opencua": _opencua,
    "qwen": _qwen,
    "seeclick": _seeclick,
    "osatlas": _osatlas,
    "mini": _mini,
}
