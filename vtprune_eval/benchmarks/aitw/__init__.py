"""Android in the Wild: the release's own matching (``official``), SeeClick's, SimpAgent's setting of it and
GUIEvalKit's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...json_values import JsonObject
from ...sample import Score
from ..action import Action, content_direction, phone_word
from ..base import Records
from ..benchmark import (
    FixedRules,
    Frame,
    Mark,
    Record,
    Rule,
    Truth,
    by_meta,
    episode_success,
    measured,
    refused_step,
    screen_size,
    share,
)
from ..checks import FRACTIONS, Fault, Screen, point_on, unknown
from ..grammars import seeclick
from ..rules import guievalkit
from ..spec import TaskSpec
from ..untrusted import Unreadable, number_pair
from . import reader, rule
from .truth import annotated, in_fractions


def _seeclick(said: Any, truth: Truth, frame: Frame) -> Score:
    score = rule.compare(said, in_fractions(truth, screen_size(frame)))
    parts = score.parts
    return measured(score, parts["type_match"], parts["click_match"] if parts["both_click"] else None)


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    return measured(error.score(dict(rule.WRONG_FORMAT)), 0, None)


def _two_decimals(said: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """SimpAgent's unit: fractions of two decimals."""
    point = number_pair(said.get("click_point"))
    return {**said, "click_point": (round(point[0], 2), round(point[1], 2))} if point else said


def _simpagent(text: str, frame: Frame) -> Mapping[Any, Any]:
    """SimpAgent's dictionary, whose point is in thousandths."""
    said = seeclick.dictionary(text)
    point = number_pair(said.get("click_point"))
    if said["action_type"] != rule.DUAL_POINT or point is None:  # the rule says what is wrong without a point
        return said
    return _two_decimals({**said, "click_point": (point[0] / 1000, point[1] / 1000)})


def _gesture(action: Action, grammar: str, frame: Frame) -> tuple[int, Sequence[float], Sequence[float]]:
    """(AITW id, touch, lift); a scroll without ends becomes the canonical swipe."""
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        return rule.DUAL_POINT, action.point, action.point
    if word == "scroll":
        if action.point and action.end:
            return rule.DUAL_POINT, action.point, action.end
        return (rule.DUAL_POINT, *rule.SCROLLS[f"scroll {content_direction(action)}"])
    return seeclick.aitw_id(action), (-1.0, -1.0), (-1.0, -1.0)


def _official(said: Any, truth: Truth, frame: Frame) -> Score:
    kind, touch, lift = said
    return rule.official_step(kind, touch, lift, in_fractions(truth, screen_size(frame)))


def _guievalkit(truth: Truth, frame: Frame) -> Mapping[str, Any]:
    truth = in_fractions(truth, screen_size(frame))
    return guievalkit.annotated_action(annotated(truth), rule.box_rows(truth["annot_position"]))


class AITW(FixedRules):
    """``truth``: as ``rule.step``, boxes in fractions, or in pixels of the screen where ``boxes_in_pixels`` says so
    (Android in the Zoo)."""

    name = "aitw"
    groups = ("subset", "action_type")
    _rules = {  # noqa: RUF012
        "official": Rule(_official, enter=_gesture, refused=refused_step),
        "seeclick": Rule(
            _seeclick,
            enter=lambda action, grammar, frame: seeclick.phone_dictionary(action),
            readers={"seeclick": lambda text, frame: seeclick.dictionary(text), "simpagent": _simpagent},
            refused=_refused,
        ),
        "simpagent": Rule(
            _seeclick,
            enter=lambda action, grammar, frame: _two_decimals(seeclick.phone_dictionary(action)),
            readers={"simpagent": _simpagent},
            refused=_refused,
        ),
        "guievalkit": guievalkit.rule(_guievalkit, "common"),
    }

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return reader.open_aitw(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        subsets = {k: share(v) for k, v in sorted(by_meta(records, "subset").items())}
        return {
            "mean_over_subsets": sum(subsets.values()) / len(subsets),
            "subsets": subsets,
            "episode_success": episode_success(records),
        }

    def marks(self, target: Mapping[str, Any], size: Sequence[int]) -> list[Mark]:
        width, height = size
        truth = in_fractions(target["truth"], size)
        marks: list[Mark] = [
            ("faint", [x * width, y * height, (x + w) * width, (y + h) * height])
            for y, x, h, w in rule.whole_rows(truth["annot_position"])
        ]
        if truth["action_type_id"] == rule.DUAL_POINT:
            touch = [truth["touch"][0] * width, truth["touch"][1] * height]
            lift = [truth["lift"][0] * width, truth["lift"][1] * height]
            marks.append(("point", touch) if truth["action_type_text"] == "click" else ("arrow", touch + lift))
        return marks

    def faults(self, target: Mapping[str, Any], screen: Screen) -> Iterator[Fault]:
        truth = target["truth"]
        kind, word = truth["action_type_id"], truth["action_type_text"]
        try:
            annotated(truth)
        except Unreadable:
            yield unknown(kind)
        if kind == rule.DUAL_POINT and word != "click" and word not in rule.SCROLLS:
            yield unknown(word)
        if kind == rule.DUAL_POINT:
            yield from point_on(truth["touch"], FRACTIONS)
            yield from point_on(truth["lift"], None)  # a swipe may end beyond the edge
        if not all(map(math.isfinite, truth["annot_position"])):
            yield "boxes are not finite", ""
        elif len(truth["annot_position"]) % 4:
            yield "annotated boxes are no rows of four numbers", f"{len(truth['annot_position'])} numbers"
