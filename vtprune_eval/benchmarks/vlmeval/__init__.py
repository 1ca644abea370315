"""VLMEvalKit's data sets as tasks; the kit is imported when one is opened or scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...sample import Score
from ..base import Records
from ..benchmark import Benchmark, Frame, Rule, Truth
from ..spec import TaskSpec
from .catalogue import KIT_TASKS


def _text(text: str, frame: Frame) -> str:
    return text


def _compare(said: Any, target: Truth, frame: Frame) -> Score:
    """The kit's own metric code, or ours where a benchmark's rule differs: the target names the protocol."""
    from .rules import score

    return score(said, dict(target), dict(frame))


_RULE = Rule(_compare, readers={"": _text})


class VLMEvalKit(Benchmark):
    """``target``: ``kind``, ``dataset``, ``protocol`` and ``row``, the annotation as the kit's table holds it."""

    name = "vlmeval"
    prompted = False
    several = False

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        from .records import KitRecords

        return KitRecords(folder, spec)

    def rules(self, spec: TaskSpec) -> Mapping[str, Rule]:
        return dict.fromkeys(KIT_TASKS[spec.name].protocols, _RULE)

    def score(self, rule: Rule, grammar: str, text: str, target: Mapping[str, Any], frame: Frame) -> Score:
        return rule.score("", text, target, frame)
