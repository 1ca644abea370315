"""GUI-Odyssey: its own rule (``official``), OS-Atlas's, SimpAgent's and GUIEvalKit's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...json_values import JsonObject
from ...sample import Box, Score
from ..action import Action
from ..base import Records
from ..benchmark import FixedRules, Frame, Mark, Record, Rule, Truth, measured, refused_step
from ..checks import THOUSANDTHS, Fault, Screen, place, point_on
from ..rules import guievalkit, osatlas, simpagent
from ..rules.osatlas import POINTED
from ..spec import TaskSpec
from ..untrusted import Unreadable, bounded
from . import reader, rule
from .truth import annotated

# The one grammar whose scroll words are the data set's: the finger's.
FINGER = ("osatlas",)


def _true(truth: Truth, frame: Frame) -> Action:
    return annotated(truth["answer"])


def _guievalkit(truth: Truth, frame: Frame) -> Mapping[str, Any]:
    b = truth.get("sam2_bbox") or []
    boxes = [[b[1] / 1000, b[0] / 1000, (b[3] - b[1]) / 1000, (b[2] - b[0]) / 1000]] if len(b) == 4 else []
    return guievalkit.annotated_action(_true(truth, frame), boxes)


def _step(score: Score, same: Any, true: Action) -> Score:
    return measured(score, same, score.value if same and true.kind in ("tap", "long_press") else None)


def _osatlas(said: Any, truth: Truth, frame: Frame) -> Score:
    true = _true(truth, frame)
    score = rule.compare_lines(said, rule.finger_line(true))
    return _step(score, score.parts["type_match"], true)


def _official(said: Any, truth: Truth, frame: Frame) -> Score:
    true = _true(truth, frame)
    score = rule.compare(said, rule.decode(truth["answer"]), truth.get("sam2_bbox"))
    return _step(score, score.parts["info"] not in ("action_fail", "invalid"), true)


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    return measured(refused_step(error, truth, frame), 0, None, **rule.INVALID)


class GUIOdyssey(FixedRules):
    """``truth``: ``answer`` (GUI-Odyssey's string) and ``sam2_bbox`` (two corners in thousandths, or None)."""

    name = "gui_odyssey"
    groups = ("category", "device", "action_type")
    settings = ("split", "level")
    _rules = {  # noqa: RUF012
        "official": Rule(
            _official,
            enter=lambda action, grammar, frame: rule.said_of(action, finger_words=grammar in FINGER),
            readers={"odyssey": lambda text, frame: rule.decode(bounded(text))},
            refused=_refused,
        ),
        "osatlas": Rule(
            _osatlas,
            enter=lambda action, grammar, frame: rule.finger_line(action),
            readers={"osatlas": lambda text, frame: osatlas.read(text)},
            refused=refused_step,
        ),
        "simpagent": simpagent.rule(_true, FINGER),
        "guievalkit": guievalkit.rule(_guievalkit, "common", FINGER),
    }

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return reader.GUIOdyssey(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        rows = [
            {
                "episode": r["id"],
                "category": r["meta"].get("category"),
                "step_length": r["meta"].get("step_length"),
                "score": Score(r["score"], None, r["reason"], {"info": r["parts"].get("info", "invalid")}),
            }
            for r in records
        ]
        return {kind: rule.official_report(rows, kind) for kind in ("macro", "micro")}

    def marks(self, target: Mapping[str, Any], size: Sequence[int]) -> list[Mark]:
        truth, marks = target["truth"], list[Mark]()
        marks += [("box", list(box)) for box in self.boxes(target, (size[0], size[1]))]
        point = _place(truth["answer"])
        return [*marks, ("point", [v / 1000 * side for v, side in zip(point, size, strict=True)])] if point else marks

    def boxes(self, target: Mapping[str, Any], size: tuple[int, int]) -> tuple[Box, ...]:
        thousandths = target["truth"].get("sam2_bbox")
        if not thousandths:
            return ()
        x1, y1, x2, y2 = (v / 1000 * size[i % 2] for i, v in enumerate(thousandths))
        return ((x1, y1, x2, y2),)

    def faults(self, target: Mapping[str, Any], screen: Screen) -> Iterator[Fault]:
        truth = target["truth"]
        if truth.get("sam2_bbox"):
            yield from place(truth["sam2_bbox"], THOUSANDTHS)
        point = _place(truth["answer"])
        if point:
            yield from point_on(point, THOUSANDTHS)


def _place(answer: str) -> tuple[float, float] | None:
    """The point of an annotation in thousandths, None for one without a place."""
    name, _, info = answer.partition(":")
    if name not in POINTED:
        return None
    x, y = (float(v) for v in info.strip(" ()").split(","))
    return x, y
