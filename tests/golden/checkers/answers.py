"""Answers in the forms that models write, against what the one reader understands (``answers.json``).

Fields of a case: ``kind`` (``point``, ``action``, ``text``), ``reader`` (``grounding``: a task that asks for a place;
``step``: a task that asks for an action; ``embedded`` and ``vlmeval_official``: the rules of those tasks),
``grammar``, ``frame``, ``text``. ``expected`` has ``point``, ``start``, ``end`` (fractions), ``kind_in``, ``score`` or
``error`` (the answer cannot be read).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtprune_eval.benchmarks.action import Action
from vtprune_eval.benchmarks.benchmark import Rule
from vtprune_eval.benchmarks.grammars.pointing import pointed
from vtprune_eval.benchmarks.mini import RULES
from vtprune_eval.benchmarks.vlmeval import VLMEvalKit
from vtprune_eval.sample import Score

from .support.cases import DEFAULT_TOLERANCE, Case, difference

_STEP = Rule(lambda said, truth, frame: Score(1.0))
_PLACE = Rule(lambda said, truth, frame: Score(1.0), understand=pointed)
_BOX = {"box_xyxy": [0, 0, 1, 1], "type": "box"}
_KIT = {
    "kind": "gui",
    "dataset": "ScreenSpot_v2_Web",
    "protocol": "official",
    "type": "vlmeval",
    "row": {"bbox": [0, 0, 1, 1]},
}


def matches(path: Path, data: Any) -> bool:
    """The file of answers."""
    return isinstance(data, dict) and data.get("task") == "answers" and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """Every case by its reader."""
    for case in data["cases"]:
        yield case["id"], _failure(case, data.get("tolerance", DEFAULT_TOLERANCE))


def _failure(case: Mapping[str, Any], tolerance: float) -> str | None:
    expected, score = case["expected"], _score(case)
    if "score" in expected:
        return difference(expected["score"], score.value, tolerance)
    if "error" in expected:
        return None if score.reason == "format_error" else f"{score} where the answer cannot be read"
    said = score.parsed
    if said is None:
        return f"not read ({score.why or score.reason}) instead of {expected}"
    found = {"point": said.point, "start": said.point, "end": said.end} if isinstance(said, Action) else said
    kinds = expected.get("kind_in")
    if kinds and (not isinstance(said, Action) or said.kind not in kinds):
        return f"{said} instead of one of {kinds}"
    places = {k: expected[k] for k in ("point", "start", "end") if k in expected}
    return difference(places, found, tolerance)


def _score(case: Mapping[str, Any]) -> Score:
    text, frame = case["text"], _frame(case.get("frame") or {})
    if case["kind"] == "text":
        target = {"type": "text", "answers": case["answers"]}
        return RULES[case.get("rule", "exact_match")]["official"].score("mini", text, target, frame)
    if case["reader"] == "embedded":
        return RULES["point_in_box"]["official"].score("mini", text, _BOX, frame)
    if case["reader"] == "vlmeval_official":
        of = VLMEvalKit()
        return of.score(next(iter(of.rules(_definition()).values())), "", text, _KIT, frame)
    rule = _PLACE if case["reader"] == "grounding" else _STEP
    return rule.score(case["grammar"], text, {}, frame)


def _definition() -> Any:
    from vtprune_eval.benchmarks.vlmeval.catalogue import definition

    return definition("ScreenSpot_v2_Web")


def _frame(frame: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "coordinates": frame.get("coordinates", "thousandths"),
        "file_sizes": [frame.get("file_size", [1280, 720])],
        "model_sizes": [frame.get("model_size", [1280, 720])],
    }
