"""Desktop and web steps: AgentNetBench, Multimodal-Mind2Web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import convert
from ..grammars import opencua, qwen
from ..protocols import agentnetbench as anb
from ..protocols import mind2web as m2w
from ..untrusted import Unreadable
from ..verdict import Verdict
from .phone import _scale, _with, said_action

Truth = Mapping[str, Any]
Frame = Mapping[str, Any]


def agentnetbench(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """A step. ``truth``: ``ground_truth_actions`` and ``alternative_options``. An unreadable answer scores 0."""
    size, seen = tuple(frame["file_sizes"][-1]), _scale(grammar, frame)
    reason = ""
    try:
        if grammar == "opencua":
            reader = opencua.guikv if protocol == "guikv" else opencua.agent
            predicted = reader(text, size, model_size=seen)
        elif grammar == "ui_tars":
            predicted = anb.from_ui_tars(text, size, seen)
        elif grammar == "qwen":
            predicted = qwen.agentnetbench(text, size, model_size=seen) or convert.pairs(
                said_action(grammar, text, frame)
            )  # the agent's reader knows fewer actions than the tool has
        else:
            predicted = convert.pairs(said_action(grammar, text, frame))
    except Unreadable as error:
        predicted, reason = [], error.reason
    verdict = (anb.guikv if protocol == "guikv" else anb.official)(predicted, truth)
    if reason:
        verdict = Verdict(verdict.score, reason, verdict.detail)
    first = (truth.get("ground_truth_actions") or [{}])[0].get("type", "").lower()
    said = predicted[0][0].lower() if predicted else ""
    said = "tripleclick" if said == "triple_click" else said
    pointed = verdict.detail.get("score") if protocol == "guikv" else (verdict.detail.get("actions") or {}).get(first)
    # Partial credit: a pointed action is on its target where the rule gives the whole point.
    hit = pointed is not None and pointed >= 1 if said == first and first in anb.POINTED else None
    return _with(verdict, bool(said) and said == first, hit)


def mind2web(protocol: str, grammar: str, text: str, truth: Truth, frame: Frame) -> Verdict:
    """A step. ``truth``: ``operation`` (CLICK, TYPE, ...), ``value``, ``boxes`` (x, y, width, height in pixels).

    SeeClick's rule looks at the first box. GUI-KV shows the next block after a scroll; one question is asked here, so
    a scroll is wrong (targets below block 0 cannot be hit by its rule anyway).
    """
    size = tuple(frame["file_sizes"][-1])
    if protocol == "seeclick":
        x, y, width, height = truth["boxes"][0]
        truth = {
            "operation": {"original_op": truth["operation"], "value": truth["value"]},
            "bbox": {"x": x, "y": y, "width": width, "height": height},
        }
        reason = ""
        if grammar != "seeclick":
            try:
                text = convert.seeclick_web(said_action(grammar, text, frame))
            except Unreadable as error:
                text, reason = "", error.reason
        verdict = m2w.seeclick_step(text, truth, size)
        if reason:
            verdict = Verdict(verdict.score, reason, verdict.detail)
        same = verdict.detail["op_match"]
        return _with(verdict, same, verdict.detail["element_match"] if same else None)
    if grammar == "ui_tars":
        understood = m2w.guikv_understand(text, size, _scale(grammar, frame))
    else:
        understood = _understood(grammar, text, frame)
    verdict = m2w.guikv_step(understood, {**truth, "bbox": truth["boxes"], "image_size": size})
    same = verdict.detail["operation"].lower() == str(truth["operation"]).lower()
    return _with(verdict, same, verdict.detail["element"] if same else None)


def _understood(grammar: str, text: str, frame: Frame) -> dict[str, Any]:
    out: dict[str, Any] = {"operation": "", "click_point": None, "direction": "", "content": "", "reason": ""}
    try:
        action = said_action(grammar, text, frame)
    except Unreadable as error:
        return {**out, "reason": error.reason}
    names = {"tap": "click", "type": "type", "select": "select", "scroll": "scroll"}
    if action.kind not in names:
        return {**out, "reason": "operation_not_supported"}
    return {
        **out,
        "operation": names[action.kind],
        "click_point": action.point,
        "content": action.text,
        "direction": action.direction,
    }
