"""Multimodal-Mind2Web: SeeClick's rule and that of GUI-KV, which is UGround's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...json_values import JsonObject
from ...sample import Score
from ..action import Action
from ..base import Records
from ..benchmark import FixedRules, Frame, Record, Rule, Truth, measured, scale, screen_size
from ..checks import Fault, Screen, xywh
from ..grammars import seeclick
from ..rules.guikv import EMPTY, Understood
from ..spec import TaskSpec
from ..untrusted import Unreadable
from . import rule
from .reader import open_mind2web

_OPERATIONS = {"tap": "click", "type": "type", "select": "select", "scroll": "scroll"}


def _seeclick(said: Any, truth: Truth, frame: Frame) -> Score:
    """SeeClick's rule looks at the first box."""
    x, y, width, height = truth["boxes"][0]
    step = {
        "operation": {"original_op": truth["operation"], "value": truth["value"]},
        "bbox": {"x": x, "y": y, "width": width, "height": height},
    }
    score = rule.compare(said, step, screen_size(frame))
    same = score.parts["op_match"]
    return measured(score, same, score.parts["element_match"] if same else None)


def _guikv_reads(text: str, frame: Frame) -> Understood:
    return rule.guikv_understand(text, screen_size(frame), scale(frame))


def _understood(action: Action, grammar: str, frame: Frame) -> Understood:
    if action.kind not in _OPERATIONS:
        return {**EMPTY, "reason": "operation_not_supported"}
    return {
        **EMPTY,
        "operation": _OPERATIONS[action.kind],
        "click_point": action.point,
        "content": action.text,
        "direction": action.direction,
    }


def _guikv(said: Any, truth: Truth, frame: Frame) -> Score:
    """GUI-KV shows the next block after a scroll; one question is asked here, so a scroll is wrong (targets below block
    0 cannot be hit by its rule anyway)."""
    score = rule.guikv_step(said, {**truth, "bbox": truth["boxes"], "image_size": screen_size(frame)})
    same = score.parts["operation"].lower() == str(truth["operation"]).lower()
    return measured(score, same, score.parts["element"] if same else None)


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    return _guikv({**EMPTY, "reason": error.reason}, truth, frame)


class Mind2Web(FixedRules):
    """``truth``: ``operation`` (CLICK, TYPE, ...), ``value``, ``boxes`` (x, y, width, height in pixels)."""

    name = "mind2web"
    groups = ("domain", "action_type")
    settings = ("split",)
    _rules = {  # noqa: RUF012
        "seeclick": Rule(
            _seeclick,
            enter=lambda action, grammar, frame: seeclick.web_dictionary(action),
            readers={"seeclick": lambda text, frame: seeclick.dictionary(text)},
            refused=_seeclick,
        ),
        "guikv": Rule(_guikv, enter=_understood, readers={"ui_tars": _guikv_reads}, refused=_refused),
    }

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return open_mind2web(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        tasks: dict[str, list[Record]] = {}
        for r in records:
            tasks.setdefault(str(r["cluster"]), []).append(r)
        steps = [
            [
                {
                    "element": bool(r["parts"].get("element", r["parts"].get("element_match"))),
                    "op_f1": r["parts"].get("op_f1") or 0.0,
                    "category": rule.OPERATIONS.get(r["meta"].get("action_type", ""), rule.CLICK),
                }
                for r in rows
            ]
            for rows in tasks.values()
        ]
        if any(r["meta"].get("total_steps") for r in records):  # UGround's samples
            totals = [max(int(r["meta"].get("total_steps") or 0) for r in rows) for rows in tasks.values()]
            return rule.guikv_report([{"steps": s, "total_steps": n} for s, n in zip(steps, totals, strict=True)])
        return rule.seeclick_report(steps)

    def faults(self, target: Mapping[str, Any], screen: Screen) -> Iterator[Fault]:
        for box in target["truth"]["boxes"]:
            if list(box) != [-1, -1, 0, 0]:  # the parquet reader's mark of a step without a place
                yield from xywh(box, None)
