"""AndroidControl: GUI-KV's rule (taken over from UGround), GUIEvalKit's, OS-Atlas's and SimpAgent's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...json_values import JsonObject
from ...sample import Box, Score
from ..action import Action, button, content_direction, phone_word
from ..base import Records
from ..benchmark import (
    FixedRules,
    Frame,
    Mark,
    Record,
    Rule,
    Truth,
    episode_success,
    measured,
    refused_step,
    scale,
    screen_size,
    share,
)
from ..checks import Fault, Screen, point_on, unknown
from ..grammars import parse
from ..rules import guievalkit, osatlas, simpagent
from ..rules.guikv import EMPTY, Understood
from ..spec import TaskSpec
from ..untrusted import NoCounterpart, Unreadable
from . import reader, rule
from .truth import annotated, tree_boxes

# What GUI-KV's script calls an operation, and what the annotation calls it.
_NAMES = {"type": ("type_text", "input_text"), "press_back": ("navigate_back",), "finished": ("status",)}


def _true(truth: Truth, frame: Frame) -> Action:
    return annotated(truth["action"], screen_size(frame))


def _guievalkit(truth: Truth, frame: Frame) -> Mapping[str, Any]:
    boxes = tree_boxes(truth.get("accessibility_tree") or [], screen_size(frame))
    return guievalkit.annotated_action(_true(truth, frame), boxes)


def _osatlas(said: Any, truth: Truth, frame: Frame) -> Score:
    true = _true(truth, frame)
    score = rule.compare_lines(said, osatlas.line_of(true))
    same = score.parts["type_match"]
    return measured(score, same, score.value if true.kind in ("tap", "long_press") and same else None)


def _guikv_reads(model: str, text: str, frame: Frame) -> Understood:
    """The script's own reading; a scroll with two ends, which it does not know, gets the gesture's direction."""
    said = rule.understand(model, text, screen_size(frame), scale(frame))
    if said["operation"] == "scroll" and not said["direction"]:
        action = parse(model, text, frame)
        if action.end is not None:
            return {**said, "direction": content_direction(action)}
    return said


def understood(action: Action, grammar: str, frame: Frame) -> Understood:
    """What GUI-KV's script would have understood (``rule.understand``).

    Raises:
        Unreadable: no counterpart.
    """
    out = EMPTY
    word = phone_word(action)
    if word in ("tap", "long_press"):
        return {**out, "operation": "click" if word == "tap" else word, "click_point": action.point}
    if word == "type":
        return {**out, "operation": "type", "click_point": action.point, "content": action.text}
    if word == "scroll":
        return {**out, "operation": "scroll", "direction": content_direction(action)}
    if word == "open":
        return {**out, "operation": "open_app", "content": action.text}
    if word == "button" and button(action) in ("back", "home"):
        return {**out, "operation": f"navigate_{button(action)}" if button(action) == "home" else "press_back"}
    if word == "wait":
        return {**out, "operation": "wait"}
    if word == "finish":
        return {**out, "operation": "finished", "content": "successful" if action.status == "success" else "infeasible"}
    raise NoCounterpart


def _guikv(said: Any, truth: Truth, frame: Frame) -> Score:
    _true(truth, frame)  # an annotation of an unknown kind has no right answer
    score = rule.guikv(said, {**truth, "image_size": screen_size(frame)})
    operation, true = said["operation"], truth["action"].get("action_type", "")
    same = true in _NAMES.get(operation, (operation,))
    pointed = same and true in ("click", "long_press")  # a right place with a wrong text is not told apart here
    return measured(score, same, score.value if pointed else None)


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    if error.reason == "annotation_unknown":
        return refused_step(error, truth, frame)
    score = _guikv({**EMPTY, "reason": error.reason}, truth, frame)
    return replace(score, reason=error.score().reason)


class AndroidControl(FixedRules):
    """``truth``: ``action`` and ``accessibility_tree`` of UGround's record; the screen's size is the file's."""

    name = "androidcontrol"
    groups = ("action_type",)
    settings = ("level",)
    _rules = {  # noqa: RUF012
        "guikv": Rule(
            _guikv,
            enter=understood,
            readers={m: partial(_guikv_reads, m) for m in ("ui_tars", "opencua")},
            refused=_refused,
        ),
        "guievalkit": guievalkit.rule(_guievalkit, "androidcontrol"),
        "osatlas": Rule(
            _osatlas,
            enter=lambda action, grammar, frame: osatlas.line_of(action),
            readers={"osatlas": lambda text, frame: osatlas.read(text)},
            refused=refused_step,
        ),
        "simpagent": simpagent.rule(_true),
    }

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return reader.open_androidcontrol(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        pointed = [r for r in records if r["meta"].get("action_type") in ("click", "long_press", "type_text")]
        rest = [r for r in records if r["meta"].get("action_type") != "open_app"]
        return {
            "step_accuracy": share(records),
            "grounding_accuracy": share(pointed) if pointed else None,
            "without_open_app": share(rest) if rest else None,
            "episode_success": episode_success(records),
        }

    def marks(self, target: Mapping[str, Any], size: Sequence[int]) -> list[Mark]:
        width, height = size
        action, tree = target["truth"]["action"], target["truth"].get("accessibility_tree") or []
        marks: list[Mark] = [
            ("faint", [x * width, y * height, (x + w) * width, (y + h) * height])
            for y, x, h, w in tree_boxes(tree, size)
        ]
        if "x" in action:
            marks += [("box", list(box)) for box in self.boxes(target, (width, height))]
            marks.append(("point", [action["x"], action["y"]]))
        return marks

    def boxes(self, target: Mapping[str, Any], size: tuple[int, int]) -> tuple[Box, ...]:
        """The smallest node around the annotated point."""
        action = target["truth"].get("action") or {}
        if "x" not in action:
            return ()
        node = rule.smallest_node(action["x"], action["y"], target["truth"].get("accessibility_tree") or [])
        if node is None:
            return ()
        x1, y1, x2, y2 = (float(node["bbox_pixels"][k]) for k in ("x_min", "y_min", "x_max", "y_max"))
        return ((x1, y1, x2, y2),)

    def faults(self, target: Mapping[str, Any], screen: Screen) -> Iterator[Fault]:
        action = target["truth"]["action"]
        try:
            annotated(action, (1, 1))
        except Unreadable:
            yield unknown(action.get("action_type"))
        if "x" in action:
            yield from point_on((action["x"], action["y"]), screen())
