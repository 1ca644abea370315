"""Phone tasks: AITW, AndroidControl, GUI-Odyssey."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .. import convert
from ..grammars import Action, parse, seeclick
from ..protocols import aitw as aitw_rule
from ..protocols import androidcontrol as ac_rule
from ..protocols import gui_odyssey as odyssey_rule
from ..protocols import guievalkit
from ..untrusted import Unreadable, json_value, number_pair
from ..verdict import Verdict

Truth = Mapping[str, Any]
Frame = Mapping[str, Any]
_SWIPES = {way: aitw_rule.SCROLLS[f"scroll {way}"] for way in ("up", "down", "left", "right")}
_BUTTONS = {5: "back", 6: "home", 7: "enter"}


def said_action(grammar: str, text: str, frame: Frame) -> Action:
    """The answer in common form.

    Raises:
        Unreadable: it is no action.
    """
    action = parse(grammar, text, frame)
    if action.kind == "invalid":
        raise Unreadable(action.reason)
    return action


def _with(verdict: Verdict, type_match: Any, grounding: Any, **more: Any) -> Verdict:
    detail = {
        **verdict.detail,
        "type_match": int(bool(type_match)),
        "grounding": None if grounding is None else int(bool(grounding)),
        **more,
    }
    return Verdict(verdict.score, verdict.reason, detail, verdict.error, verdict.skipped)


def _unreadable(error: Unreadable) -> Verdict:
    return Verdict(0.0, error.reason, {"type_match": 0, "grounding": None})


# --- AITW ---------------------------------------------------------------------------------------------------------


def aitw(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """A step. ``truth``: as ``protocols.aitw.step``, boxes in fractions, or in pixels of the screen where
    ``boxes_in_pixels`` says so (Android in the Zoo)."""
    truth = aitw_fractions(truth, frame["file_sizes"][-1])
    if protocol in ("seeclick", "simpagent"):
        try:
            if grammar == "simpagent":
                text = _simpagent_in_fractions(text)
            elif protocol == "simpagent":
                text = convert.seeclick(said_action(grammar, text, frame), decimals=2)
            elif grammar != "seeclick":
                text = convert.seeclick(said_action(grammar, text, frame))
        except Unreadable as error:
            return Verdict(0.0, error.reason, {**aitw_rule.WRONG_FORMAT, "grounding": None})
        verdict = aitw_rule.step(text, truth)
        return _with(
            verdict,
            verdict.detail["type_match"],
            verdict.detail["click_match"] if verdict.detail["both_click"] else None,
        )
    try:
        if protocol == "guievalkit":
            boxes = aitw_rule.box_rows(truth["annot_position"])
            return _guievalkit(grammar, text, convert.result_fields(aitw_action(truth), boxes), frame, "common")
        return _aitw_official(said_action(grammar, text, frame), truth)
    except Unreadable as error:
        return _unreadable(error)


def _simpagent_in_fractions(text: str) -> str:
    """SimpAgent's dictionary with its point in SeeClick's unit: thousandths become fractions of two decimals.

    Raises:
        Unreadable: no dictionary.
    """
    said = seeclick.action(text)
    point = number_pair(said.get("click_point"))
    if said["action_type"] != aitw_rule.DUAL_POINT or point is None:  # the rule says what is wrong without a point
        return text
    return f'{{"action_type": {aitw_rule.DUAL_POINT}, "click_point": ({point[0] / 1000:.2f},{point[1] / 1000:.2f})}}'


def aitw_fractions(truth: Truth, size: Sequence[int]) -> Truth:
    """The same annotation with boxes as fractions of a screen of ``size`` (width, height)."""
    if not truth.get("boxes_in_pixels"):
        return truth
    flat = [v / size[1 - i % 2] for i, v in enumerate(truth["annot_position"])]  # y, x, height, width
    return {**truth, "annot_position": flat}


def aitw_action(truth: Truth) -> Action:
    """An AITW annotation in common form.

    Raises:
        Unreadable: an action id that the data set does not define.
    """
    kind = truth["action_type_id"]
    if kind == aitw_rule.DUAL_POINT:
        x, y = truth["touch"]
        if truth["action_type_text"] == "click":
            return Action("tap", point=(x, y))
        return Action(
            "swipe", point=(x, y), end=tuple(truth["lift"]), direction=truth["action_type_text"].removeprefix("scroll ")
        )
    if kind == aitw_rule.TYPE:
        return Action("type", text=truth["type_text"])
    if kind in _BUTTONS:
        return Action("button", text=_BUTTONS[kind])
    if kind in (10, 11):
        return Action("finish", status="success" if kind == 10 else "impossible")
    raise Unreadable("annotation_unknown")


def _aitw_official(action: Action, truth: Truth) -> Verdict:
    """The release's own matching on the recorded gesture; a predicted scroll becomes the canonical swipe."""
    word = convert.phone_word(action)
    touch: Sequence[float] = (-1.0, -1.0)
    lift: Sequence[float] = touch
    if word in ("tap", "long_press") and action.point:
        kind, touch, lift = aitw_rule.DUAL_POINT, action.point, action.point
    elif word == "scroll":
        kind = aitw_rule.DUAL_POINT
        if action.point and action.end:
            touch, lift = action.point, action.end
        else:
            touch, lift = _SWIPES[convert.content_direction(action)]
    else:
        kind = convert.aitw_id(action)
    return aitw_rule.official_step(kind, touch, lift, truth)


# --- AndroidControl -----------------------------------------------------------------------------------------------


def androidcontrol(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """A step. ``truth``: ``action`` and ``accessibility_tree`` of UGround's record; the screen's size is the file's."""
    size = tuple(frame["file_sizes"][-1])
    try:
        true = androidcontrol_action(truth["action"], size)
        if protocol == "guikv":
            return _androidcontrol_guikv(grammar, text, truth, size, frame)
        if protocol == "guievalkit":
            boxes = tree_boxes(truth.get("accessibility_tree") or [], size)
            return _guievalkit(grammar, text, convert.result_fields(true, boxes), frame, "androidcontrol")
        if protocol == "simpagent":
            return _simpagent(grammar, text, true, frame)
        answer = convert.osatlas(true)
        if grammar != "osatlas":
            text = "actions:\n" + convert.osatlas(said_action(grammar, text, frame))
        verdict = ac_rule.osatlas(text, answer)
    except Unreadable as error:
        return _unreadable(error)
    pointed = true.kind in ("tap", "long_press") and verdict.detail["type_match"]
    return _with(verdict, verdict.detail["type_match"], verdict.score if pointed else None)


def androidcontrol_action(action: Truth, size: Sequence[int]) -> Action:
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
    raise Unreadable("annotation_unknown")


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


def _androidcontrol_guikv(grammar: str, text: str, truth: Truth, size: tuple[int, int], frame: Frame) -> Verdict:
    if grammar in ("ui_tars", "opencua"):
        understood = ac_rule.understand(grammar, text, size, _scale(grammar, frame))
    else:
        try:
            understood = convert.guikv_phone(said_action(grammar, text, frame))
        except Unreadable as error:
            understood = {"operation": "", "click_point": None, "direction": "", "content": "", "reason": error.reason}
    verdict = ac_rule.guikv(understood, {**truth, "image_size": size})
    said, true = understood["operation"], truth["action"].get("action_type", "")
    names = {"type": ("type_text", "input_text"), "press_back": ("navigate_back",), "finished": ("status",)}
    same = true in names.get(said, (said,))
    pointed = same and true in ("click", "long_press")  # a right place with a wrong text is not told apart here
    return _with(verdict, same, verdict.score if pointed else None)


# --- GUI-Odyssey --------------------------------------------------------------------------------------------------


def gui_odyssey(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """A step. ``truth``: ``answer`` (GUI-Odyssey's string) and ``sam2_bbox`` (two corners in thousandths, or None)."""
    finger = grammar == "osatlas"  # the one grammar whose scroll words are the data set's
    try:
        true = odyssey_action(truth["answer"])
        if protocol == "guievalkit":
            b = truth.get("sam2_bbox") or []
            boxes = [[b[1] / 1000, b[0] / 1000, (b[3] - b[1]) / 1000, (b[2] - b[0]) / 1000]] if len(b) == 4 else []
            fields = convert.result_fields(true, boxes)
            return _guievalkit(grammar, text, fields, frame, "common", finger_words=finger)
        if protocol == "simpagent":
            return _simpagent(grammar, text, true, frame, finger_words=finger)
        if protocol == "osatlas":
            if grammar != "osatlas":
                text = "actions:\n" + _odyssey_line(said_action(grammar, text, frame))
            verdict = odyssey_rule.osatlas(text, _odyssey_line(true))
            same = verdict.detail["type_match"]
        else:
            if grammar != "odyssey":
                text = convert.odyssey(said_action(grammar, text, frame), finger_words=finger)
            verdict = odyssey_rule.official(text, truth["answer"], truth.get("sam2_bbox"))
            same = verdict.detail["info"] not in ("action_fail", "invalid")
    except Unreadable as error:
        verdict = _unreadable(error)
        return _with(verdict, 0, None, info="invalid", is_correct="no") if protocol == "official" else verdict
    return _with(verdict, same, verdict.score if same and true.kind in ("tap", "long_press") else None)


def odyssey_action(answer: str) -> Action:
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
            raise Unreadable("annotation_unknown") from error
        return Action("tap" if name == "CLICK" else "long_press", point=point)
    if name == "SCROLL" and info.lower() in convert.OPPOSITE:
        return Action("scroll", direction=convert.OPPOSITE[info.lower()])
    if name == "TYPE":
        return Action("type", text=info)
    if name.startswith("PRESS_"):
        return Action("button", text=name.removeprefix("PRESS_").lower())
    if name in ("COMPLETE", "IMPOSSIBLE"):
        return Action("finish", status="success" if name == "COMPLETE" else "impossible")
    raise Unreadable("annotation_unknown")


def _odyssey_line(action: Action) -> str:
    """OS-Atlas's line for GUI-Odyssey: its scroll words are the finger's."""
    if action.kind in ("scroll", "swipe", "drag"):
        return f"SCROLL [{convert.OPPOSITE[convert.content_direction(action)].upper()}]"
    return convert.osatlas(action)


# --- shared -------------------------------------------------------------------------------------------------------


def _scale(grammar: str, frame: Frame) -> tuple[int, int]:
    """What the rule divides the answer's numbers by: the size that the model really saw, or its relative frame."""
    size: tuple[int, int] = tuple(frame["model_sizes"][-1])
    relative = {"thousandths": (1000, 1000), "fractions": (1, 1), "hundredths": (100, 100)}
    return relative.get(frame["coordinates"], size)


def _simpagent(grammar: str, text: str, true: Action, frame: Frame, *, finger_words: bool = False) -> Verdict:
    if grammar != "simpagent":
        text = convert.simpagent(said_action(grammar, text, frame), finger_words=finger_words)
    verdict = odyssey_rule.simpagent(text, convert.simpagent(true))
    right, compared = verdict.detail["grounding"]
    return _with(verdict, verdict.detail["type_correct"], right if compared else None)


def _guievalkit(
    grammar: str, text: str, fields: Truth, frame: Frame, rule: str, *, finger_words: bool = False
) -> Verdict:
    if grammar == "unified":
        said = json_value(text)
    else:
        said = convert.unified(said_action(grammar, text, frame), finger_words=finger_words)
    stored = fields.get("ui_positions")
    verdict = guievalkit.step(
        said, {**fields, "ui_positions": json.dumps(stored) if stored is not None else "[]"}, rule=rule
    )
    same = verdict.detail["type_match"]
    pointed = verdict.detail["gt_type"] in ("click", "long_point")
    return _with(verdict, same, verdict.score if same and pointed else None)
