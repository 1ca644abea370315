"""AgentNetBench: OpenCUA's rule (``official``) and GUI-KV's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...json_values import JsonObject
from ...sample import Box, Score
from ..base import Records
from ..benchmark import FixedRules, Frame, Mark, Record, Rule, Truth, measured, scale, screen_size
from ..checks import FRACTIONS, Fault, Screen, point_on, unknown, xywh
from ..grammars import opencua, qwen, understand
from ..spec import TaskSpec
from ..untrusted import Unreadable
from . import rule
from .reader import AgentNetBench as Steps

Pairs = list[tuple[str, Any]]
_KINDS = {*rule.POINTED, "write", "press", "hotkey", "scroll", "terminate"}


def _opencua(read: Callable[..., Pairs], text: str, frame: Frame) -> Pairs:
    return read(text, screen_size(frame), model_size=scale(frame))


def _ui_tars(text: str, frame: Frame) -> Pairs:
    return rule.from_ui_tars(text, screen_size(frame), scale(frame))


def _qwen(text: str, frame: Frame) -> Pairs:
    """As the agent reads its model; it knows fewer actions than the tool has."""
    found = qwen.agentnetbench(text, screen_size(frame), model_size=scale(frame))
    return found or rule.pairs(understand("qwen", text, frame))


def _compare(name: str, said: Pairs, truth: Truth, frame: Frame) -> Score:
    score = (rule.guikv if name == "guikv" else rule.official)(said, truth)
    first = (truth.get("ground_truth_actions") or [{}])[0].get("type", "").lower()
    word = said[0][0].lower() if said else ""
    word = "tripleclick" if word == "triple_click" else word
    pointed = score.parts.get("score") if name == "guikv" else (score.parts.get("actions") or {}).get(first)
    # Partial credit: a pointed action is on its target where the rule gives the whole point.
    hit = pointed is not None and pointed >= 1 if word == first and first in rule.POINTED else None
    return measured(score, bool(word) and word == first, hit)


def _refused(name: str, error: Unreadable, truth: Truth, frame: Frame) -> Score:
    score = _compare(name, [], truth, frame)
    return replace(score, reason=error.score().reason, why=error.reason)


def _rule(name: str) -> Rule:
    return Rule(
        partial(_compare, name),
        enter=lambda action, grammar, frame: rule.pairs(action),
        readers={
            "opencua": partial(_opencua, opencua.guikv if name == "guikv" else opencua.agent),
            "ui_tars": _ui_tars,
            "qwen": _qwen,
        },
        refused=partial(_refused, name),
    )


class AgentNetBench(FixedRules):
    """``truth``: ``ground_truth_actions`` and ``alternative_options``."""

    name = "agentnetbench"
    groups = ("domain", "system", "action_type")
    _rules = {name: _rule(name) for name in ("official", "guikv")}  # noqa: RUF012

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return Steps(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        return rule.report(
            {
                "trajectory": r["cluster"],
                "score": Score(r["score"], None, r["reason"], r["parts"]),
                "milestone": r["meta"].get("milestone"),
                "domain": r["meta"].get("domain"),
                "action_type": r["meta"].get("action_type") or "",
            }
            for r in records
        )

    def marks(self, target: Mapping[str, Any], size: Sequence[int]) -> list[Mark]:
        width, height = size
        marks: list[Mark] = [("box", list(box)) for box in self.boxes(target, (width, height))]
        for action in target["truth"]["ground_truth_actions"]:
            place = (action.get("params") or {}).get("position")
            if place:
                marks.append(("point", [place["x"] * width, place["y"] * height]))
        return marks

    def boxes(self, target: Mapping[str, Any], size: tuple[int, int]) -> tuple[Box, ...]:
        found = []
        for action in target["truth"]["ground_truth_actions"]:
            for entry in (action.get("metadata") or {}).get("bboxes") or []:
                x, y, w, h = entry["rel_bbox"]
                found.append((x * size[0], y * size[1], (x + w) * size[0], (y + h) * size[1]))
        return tuple(found)

    def faults(self, target: Mapping[str, Any], screen: Screen) -> Iterator[Fault]:
        truth = target["truth"]
        if not truth["ground_truth_actions"]:
            yield "steps have no annotated action (ground_truth_actions is empty)", ""
        for actions in (truth["ground_truth_actions"], *truth["alternative_options"]):
            for action in actions:
                if str(action.get("type")).lower() not in _KINDS:
                    yield unknown(action.get("type"))
                for found in (action.get("metadata") or {}).get("bboxes") or []:
                    yield from xywh(found["rel_bbox"], FRACTIONS)
                at = (action.get("params") or {}).get("position")
                if at:
                    yield from point_on((at["x"], at["y"]), FRACTIONS)
