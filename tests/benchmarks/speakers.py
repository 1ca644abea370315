"""An action as models of several families would write it: the other direction of the parsers."""

from __future__ import annotations

import json

from vtprune_eval.benchmarks import action as actions
from vtprune_eval.benchmarks.action import Action


def scale(coordinates, size):
    return size if coordinates == "resized_pixels" else {"thousandths": (1000, 1000), "fractions": (1, 1)}[coordinates]


def qwen(action: Action, size) -> str:
    def at(point):
        return [point[0] * size[0], point[1] * size[1]]

    kind, more = action.kind, {}
    if kind in ("tap", "long_press", "double_tap"):
        name = {"tap": "left_click", "double_tap": "double_click"}.get(kind, kind)
        more = {"coordinate": at(action.point)}
    elif kind in ("type", "open", "select"):
        name, more = kind, {"text": action.text, **({"coordinate": at(action.point)} if action.point else {})}
    elif kind in ("scroll", "swipe"):
        finger = actions.OPPOSITE[actions.content_direction(action)]
        dx, dy = {"up": (0, -0.4), "down": (0, 0.4), "left": (-0.4, 0), "right": (0.4, 0)}[finger]
        name, more = "swipe", {"coordinate": at((0.5, 0.5)), "coordinate2": at((0.5 + dx, 0.5 + dy))}
    elif kind == "button":
        name, more = "system_button", {"button": action.text.capitalize()}
    elif kind == "hotkey":
        name, more = "key", {"keys": list(action.keys)}
    elif kind == "finish":
        name, more = "terminate", {"status": "success" if action.status == "success" else "failure"}
    else:
        name = kind
    call = {"name": "mobile_use", "arguments": {"action": name, **more}}
    return f"Thought: so be it.\n<tool_call>\n{json.dumps(call)}\n</tool_call>"


def ui_tars(action: Action, size) -> str:
    def at(point):
        return f"<point>{round(point[0] * size[0])} {round(point[1] * size[1])}</point>"

    kind = action.kind
    if kind in ("tap", "long_press"):
        said = f"{'click' if kind == 'tap' else kind}(point='{at(action.point)}')"
    elif kind == "type":
        said = f"type(content='{action.text}')"
    elif kind in ("scroll", "swipe"):
        said = f"scroll(point='{at((0.5, 0.5))}', direction='{actions.content_direction(action)}')"
    elif kind == "button":
        said = f"press_{action.text}()"
    elif kind == "open":
        said = f"open_app(app_name='{action.text}')"
    elif kind == "finish":
        said = f"finished(content='{'successful' if action.status == 'success' else 'infeasible'}')"
    else:
        said = f"{kind}()"
    return f"Thought: so be it.\nAction: {said}"


SPEAKERS = {"qwen": qwen, "ui_tars": ui_tars}
