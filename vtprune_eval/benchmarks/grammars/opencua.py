"""OpenCUA: lines of pyautogui code.

Three readers, each with its own rules: the AgentNetBench agent of OpenCUA (``agent``), GUI-KV's copy of it (``guikv``:
always rescales, does not look inside lines) and GUI-KV's grounding reader (``grounding``). The code is searched as
text, never run. A text ends at the first quote of either kind; positional coordinates are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...models.resize_variants import Size, guikv_opencua, opencua_agent
from ..action import Action, invalid
from ..answers import first_point
from ..untrusted import Unreadable, bounded, number_pair
from .common import finish, sizes

Pair = tuple[str, Any]
_XY = re.compile(r"x=([\d.]+),\s*y=([\d.]+)")
_STATUS = re.compile(r"status=['\"](\w+)['\"]")
_MESSAGE = re.compile(r"message=['\"](.+?)['\"]")
_KEY = re.compile(r"['\"]([^'\"]*)['\"]|(\w+)")
_QUOTED = re.compile(r"['\"]([^'\"]+)['\"]")
_SCROLL = re.compile(r"pyautogui\.scroll\(([-\d]{1,300})\)")
_NUMBER = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")
_COMMAND = re.compile(r"(?:pyautogui|computer)\.(\w{1,40})\(")
_CLICKS = re.compile(r"\bclicks\s?=\s?(\d)")
_RIGHT = re.compile(r"\bbutton\s?=\s?['\"]right")
_MOUSE_NAMES = {
    "click": "click",
    "leftclick": "click",
    "doubleclick": "doubleClick",
    "rightclick": "rightClick",
    "tripleclick": "triple_click",
    "moveto": "moveTo",
    "dragto": "dragTo",
}
_MOUSE = tuple(
    ["pyautogui." + n for n in ("click", "moveTo", "dragTo", "doubleClick", "rightClick", "middleClick", "tripleClick")]
    + ["computer.tripleClick"]
)


def agent(text: Any, image_size: Size, *, model_size: Size | None = None) -> list[Pair]:
    """OpenCUA's AgentNetBench agent: (type, value) pairs with coordinates as fractions.

    Coordinates of ``pyautogui`` lines are divided by the resized size if both exceed 1; ``triple_click`` is not
    divided. If no line starts with a command, the first command inside each line is taken.

    Args:
        text: what the model wrote.
        image_size: (width, height) of the image file.
        model_size: (width, height) that the model saw; default: the agent's own resize.

    Raises:
        Unreadable: a number that cannot be read, no text, too long.
    """
    lines = [line.strip() for line in bounded(text).split("\n")]
    commands = _commands(lines)
    size = model_size or _resized(opencua_agent, image_size)
    return _extract([_as_fractions(line, size) for line in commands], (1, 1))


def _commands(lines: list[str]) -> list[str]:
    """Lines that start with a command; if there are none, the first command inside each line."""
    commands = [line for line in lines if line.startswith(("pyautogui.", "computer."))]
    if not commands:
        for line in lines:
            for head in ("pyautogui.", "computer."):
                if head in line:
                    commands.append(head + line.split(head)[1].strip())
                    break
    return commands


def guikv(text: Any, image_size: Size, *, model_size: Size | None = None) -> list[Pair]:
    """GUI-KV's copy: only lines that start with a command, every coordinate divided by the resized size.

    Raises:
        Unreadable: as ``agent``, and a side of the image below 28 pixels.
    """
    text = bounded(text)
    size = model_size or _resized(guikv_opencua, image_size)
    return _extract([line.strip() for line in text.strip().split("\n")], size)


def grounding(text: Any, image_size: Size, *, model_size: Size | None = None) -> tuple[float, float]:
    """GUI-KV's grounding reader: the first two numbers of the first line that starts with a mouse call.

    Returns:
        (x, y) as fractions.

    Raises:
        Unreadable: no such line, or such a line with a single number.
    """
    points = []
    for line in bounded(text).split("\n"):
        line = line.strip()
        if not line.startswith(_MOUSE):
            continue
        numbers = [float(n) for n in _NUMBER.findall(line)[:2]]
        if len(numbers) == 1:
            raise Unreadable("one_number")
        if numbers:
            points.append((numbers[0], numbers[1]))
    if not points:
        raise Unreadable("no_point", "IndexError")
    width, height = model_size or _resized(guikv_opencua, image_size)
    return points[0][0] / width, points[0][1] / height


def _resized(resize: Callable[[int, int], Size], image_size: Size) -> Size:
    try:
        return resize(*image_size)
    except ValueError as error:
        raise Unreadable("image_refused") from error


def _as_fractions(line: str, size: Size) -> str:
    """The agent rewrites the first pixel pair of a pyautogui line, then reads the line: so a fraction that prints with
    an exponent is lost."""
    found = _XY.search(line)
    if not found or not line.startswith("pyautogui."):
        return line
    try:
        x, y = float(found[1]), float(found[2])
    except ValueError:
        return line
    if not (x > 1.0 and y > 1.0):
        return line
    return f"{line[: found.start()]}x={x / size[0]}, y={y / size[1]}{line[found.end() :]}"


def _extract(lines: list[str], size: Size) -> list[Pair]:
    actions: list[Pair] = []
    for line in lines:
        if line.startswith("computer.terminate") and (status := _STATUS.search(line)):
            actions.append(("terminate", status[1]))
        elif line.startswith("computer.triple_click") and (found := _XY.search(line)):
            actions.append(("triple_click", _point(found, size)))
        elif line.startswith("pyautogui."):
            actions += _mouse(line, size) + _write(line) + _keys(line)
            if scroll := _SCROLL.search(line):
                try:
                    actions.append(("scroll", int(scroll[1])))
                except ValueError as error:
                    raise Unreadable("scroll_not_a_number") from error
    return actions


def _point(found: re.Match[str], size: Size) -> tuple[float, float]:
    try:
        return float(found[1]) / size[0], float(found[2]) / size[1]
    except ValueError as error:
        raise Unreadable("coordinate_not_a_number") from error


def _mouse(line: str, size: Size) -> list[Pair]:
    found = _XY.search(line)
    if not found:
        return []
    point = _point(found, size)
    if "click" in line and "doubleClick" not in line and "rightClick" not in line:
        return [("click", point)]
    return next(([(name, point)] for name in ("moveTo", "doubleClick", "rightClick", "dragTo") if name in line), [])


def _write(line: str) -> list[Pair]:
    if message := _MESSAGE.search(line):
        return [("write", message[1])]
    starts = []
    for quote in "'\"":
        start = line.find("pyautogui.write(" + quote)
        inside = start + len("pyautogui.write(") + 1
        if start >= 0 and (end := line.find(quote + ")", inside)) >= 0:
            starts.append((start, line[inside:end]))
    return [("write", min(starts)[1])] if starts else []


def _keys(line: str) -> list[Pair]:
    actions: list[Pair] = []
    start = line.find("keys=[")
    end = line.find("]", start) if start >= 0 else -1
    if end >= 0:
        keys = [a or b for a, b in _KEY.findall(line[start + len("keys=[") : end]) if a or b]
        actions.append(("hotkey" if "hotkey" in line else "press", _renamed(keys)))
    if "keys=" in line:
        return actions
    if "hotkey(" in line and (keys := _QUOTED.findall(_between(line, "pyautogui.hotkey("))):
        actions.append(("hotkey", _renamed(keys)))
    if "press(" in line:
        inside = _between(line, "pyautogui.press(").strip()
        keys = _QUOTED.findall(inside)[: None if inside.startswith("[") else 1]
        if keys:
            actions.append(("hotkey" if len(keys) > 1 else "press", _renamed(keys)))
    return actions


def _between(line: str, head: str) -> str:
    """What stands between ``head`` and the last closing bracket of the line; empty if there is none."""
    start = line.find(head)
    end = line.rfind(")")
    return line[start + len(head) : end] if start >= 0 and end >= start + len(head) else ""


def _renamed(keys: list[str]) -> list[str]:
    stripped = [key.strip() for key in keys]
    return ["ctrl" if key.lower() in ("cmd", "command") else key for key in stripped]


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
    return finish(value) if name == "terminate" else invalid("unknown_action")


def action(text: str, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer in common form: every mouse call, with named or positional coordinates."""
    _, seen = sizes(frame)
    # Fractions are answers of OpenCUA-Qwen2: the same lines, nothing to divide by.
    size = seen if frame["coordinates"] == "resized_pixels" else (1, 1)
    actions: list[Pair] = []
    for line in _commands([line.strip() for line in text.strip().split("\n")]):
        found = _COMMAND.match(line)
        name = _MOUSE_NAMES.get(found[1].lower().replace("_", "")) if found else None
        at = first_point(line[found.end() :]) if found and name else None
        if found and name and at:
            clicks = _CLICKS.search(line) if name == "click" else None
            name = {"2": "doubleClick", "3": "triple_click"}.get(clicks[1], name) if clicks else name
            name = "rightClick" if name == "click" and _RIGHT.search(line) else name
            actions.append((name, (at[0] / size[0], at[1] / size[1])))
        else:
            actions += _extract([line], size)
    return _from_pairs(actions)
