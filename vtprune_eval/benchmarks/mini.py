"""Own data and the embedded suite: one JSON object per line in ``samples.jsonl``, questions as the model gets them.

``task.yaml`` names one of the rules below with ``rule:``. A task of this kind needs no Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown_name
from ..json_values import JsonObject
from ..paths import inside_folder
from ..sample import Score, graded
from .answers import first_point, fraction
from .base import Item, Records, need
from .benchmark import Benchmark, Frame, Rule, Truth
from .formats.lines import Lines
from .grammars import mini as grammar
from .rules import documents
from .spec import TaskSpec
from .untrusted import Unreadable


class _Lines(Lines):
    """``id``, ``images``, ``question``, ``target``, optional ``cluster`` and ``meta``."""

    def item(self, i: int) -> Item:
        r = self._records[i]
        where = f"{self._where}, record {self._ids[i]!r}"
        images = tuple(inside_folder(self._folder, name, where) for name in need(r, "images", where, list))
        question = need(r, "question", where, str)
        if not images or not question.strip():
            raise UserError(f"{where}: {'no image' if not images else 'an empty question'}; every record needs both.")
        return Item(
            id=self._ids[i],
            images=images,
            fields={"question": question},
            target=need(r, "target", self._where, dict),
            cluster=r.get("cluster"),
            meta=r.get("meta", {}),
        )


def inside(point: Sequence[float], box: Sequence[float], size: Sequence[int]) -> bool:
    """Is a point (fractions) inside a box (x1, y1, x2, y2 in pixels of an image of ``size``)? Borders are inside."""
    x, y = point[0] * size[0], point[1] * size[1]
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _read_point(text: str, frame: Frame) -> tuple[float, float]:
    pair = first_point(text)
    at = fraction(pair, frame) if pair else None
    if at is None:
        raise Unreadable("no_point")
    return at


def _in_box(said: Any, target: Truth, frame: Frame) -> Score:
    return graded(inside(said, target["box_xyxy"], frame["file_sizes"][-1]), parsed={"point": list(said)})


def _read_words(text: str, frame: Frame) -> str:
    said = " ".join(text[:4096].lower().split())
    if not said:
        raise Unreadable("no_text")
    return said


def _same_words(said: Any, target: Truth, frame: Frame) -> Score:
    hit = said in {" ".join(str(a).lower().split()) for a in target["answers"]}
    return graded(hit, parsed={"text": said[:200]})


def _read_text(text: str, frame: Frame) -> str:
    return text[:4096].strip()


def _anls(said: Any, target: Truth, frame: Frame) -> Score:
    return graded(documents.anls(said, target["answers"]).value or 0.0, parsed={"text": said[:200]})


def _relaxed(said: Any, target: Truth, frame: Frame) -> Score:
    return graded(
        max(documents.relaxed_accuracy(said, a).value or 0.0 for a in target["answers"]), parsed={"text": said[:200]}
    )


def _read_action(text: str, frame: Frame) -> JsonObject:
    said = grammar.parse_action(text, frame)
    if said is None:
        raise Unreadable("no_action")
    return said


def _same_action(said: Any, target: Truth, frame: Frame) -> Score:
    true = target["action"]
    hit = said["type"] == true["type"]
    if hit and true["type"] == "tap":
        hit = inside(said["point"], true["box_xyxy"], frame["file_sizes"][-1])
    elif hit and true["type"] == "type":
        hit = said["text"].lower() == true["text"].lower()
    elif hit and true["type"] == "scroll":
        hit = said["direction"] == true["direction"]
    return graded(hit, parsed=said)


def _rule(read: Any, compare: Any) -> Mapping[str, Rule]:
    return {"official": Rule(compare, readers={"mini": read})}


# Rule -> what is compared. ``target``: see docs/add_a_benchmark.md.
RULES: dict[str, Mapping[str, Rule]] = {
    # ScreenSpot's: the first point of the answer lies in the target's box (pixels of the last file).
    "point_in_box": _rule(_read_point, _in_box),
    # The answer equals one of the accepted ones, ignoring case and outer or repeated white space.
    "exact_match": _rule(_read_words, _same_words),
    # DocVQA's: similarity to the nearest accepted answer, 0 below one half.
    "anls": _rule(_read_text, _anls),
    # ChartQA's: numbers may be off by 5 %, other answers must be equal.
    "relaxed_accuracy": _rule(_read_text, _relaxed),
    # AndroidControl's: same action type, and a tap inside the target's box, or the same text (case ignored), or the
    # same scroll direction.
    "step": _rule(_read_action, _same_action),
    # Cost only.
    "none": {
        "official": Rule(lambda said, target, frame: Score(None, None, "not_scored"), readers={"mini": _read_text})
    },
}


class Mini(Benchmark):
    """``target``: ``type``, and ``box_xyxy`` (``box``), ``answers`` (``text``) or ``action`` (``action``)."""

    name = "mini"
    settings = ("rule",)
    prompted = False
    several = False

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return _Lines(folder)

    def rules(self, spec: TaskSpec) -> Mapping[str, Rule]:
        name = spec.setting("rule")
        if name is None:
            raise UserError(
                f"{spec.name}/task.yaml: the key 'rule' is missing; the benchmark mini has {', '.join(RULES)}."
            )
        if name not in RULES:
            raise unknown_name(f"rule in {spec.name}/task.yaml", str(name), RULES)
        return RULES[name]

    def score(self, rule: Rule, grammar: str, text: str, target: Mapping[str, Any], frame: Frame) -> Score:
        if rule is RULES["point_in_box"]["official"] and target["type"] != "box":
            return Score(None, None, "no_target")
        return rule.score("mini", text, target, frame)
