"""What a benchmark is: one module that reads its data, scores answers, groups records, draws and checks targets.

A module of this folder (or of another package, or ``benchmark.py`` beside a ``task.yaml``) holds one subclass of
:class:`Benchmark` with the module's name. Nothing else has to be told about it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ..json_values import JsonObject
from ..sample import Box, Score, listed_boxes
from .action import Action
from .answers import final
from .base import Item, Records
from .checks import Fault, Screen, listed_box
from .grammars import understand
from .grammars.common import scale
from .spec import TaskSpec
from .untrusted import Unreadable

Truth = Mapping[str, Any]
# ``coordinates`` of the model, ``model_sizes`` and ``file_sizes``: (width, height) per image; the last is the screen.
Frame = Mapping[str, Any]
Record = Mapping[str, Any]
# (kind, numbers in pixels of the file): "box" and "faint" x1 y1 x2 y2, "point" x y, "arrow" x1 y1 x2 y2, "polygon".
Mark = tuple[str, list[float]]


def as_understood(action: Action, grammar: str, frame: Frame) -> Any:
    """A rule that compares actions as they are."""
    return action


def refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    """The score of an answer that cannot be read, with no further measures."""
    return error.score()


@dataclass(frozen=True)
class Rule:
    """One published way to score (a protocol): an answer is read once, then compared.

    Attributes:
        compare: ``(said, truth, frame) -> Score``; ``said`` is an answer in the rule's own form.
        enter: ``(action, grammar, frame) -> said``: where the answer of any other family enters.
        readers: grammar to ``(text, frame) -> said``: how the authors' own code reads their own models, accidents
            included.
        understand: ``(grammar, text, frame) -> Action``: how every other answer is read.
        refused: the score of an answer that cannot be read, with the measures that the rule's report needs.
    """

    compare: Callable[[Any, Truth, Frame], Score]
    enter: Callable[[Action, str, Frame], Any] = as_understood
    readers: Mapping[str, Callable[[str, Frame], Any]] = field(default_factory=dict)
    understand: Callable[[str, str, Frame], Action] = understand
    refused: Callable[[Unreadable, Truth, Frame], Score] = refused

    def score(self, grammar: str, text: str, truth: Truth, frame: Frame) -> Score:
        """Score one answer; never raises on what a model said.

        Args:
            grammar: how the model writes (a key of ``grammars.GRAMMARS`` or of ``readers``).
            text: the answer; a thought before it does not count.
            truth: the annotation in the form that the benchmark's reader gives.
            frame: see ``Frame``.
        """
        action, text = None, final(text)
        try:
            if grammar in self.readers:
                said = self.readers[grammar](text, frame)
            else:
                action = self.understand(grammar, text, frame)
                said = self.enter(action, grammar, frame)
            score = self.compare(said, truth, frame)
        except Unreadable as error:
            score = self.refused(error, truth, frame)
        return score if score.parsed is not None or action is None else replace(score, parsed=action)


class Benchmark(ABC):
    """One data set and the rules under which its papers report.

    Attributes:
        name: of the module; ``benchmark:`` in a ``task.yaml``.
        groups: keys of the samples' ``meta`` by which results are broken down.
        settings: keys of ``task.yaml`` that only this benchmark knows.
        prompted: questions are made from prompt files; False where the data hold them.
        several: results name the protocol; False where there is nothing to choose.
    """

    name: ClassVar[str]
    groups: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[tuple[str, ...]] = ()
    prompted: ClassVar[bool] = True
    several: ClassVar[bool] = True

    @abstractmethod
    def open(self, folder: Path, spec: TaskSpec) -> Records:
        """The records below ``folder``; no image is opened.

        Raises:
            UserError: the data are absent or of another format.
        """

    @abstractmethod
    def rules(self, spec: TaskSpec) -> Mapping[str, Rule]:
        """Protocols of a task, the default first."""

    def score(self, rule: Rule, grammar: str, text: str, target: Mapping[str, Any], frame: Frame) -> Score:
        """Score one answer against a target; a target of the type ``none`` has nothing to be compared with."""
        if target["type"] == "none":
            return Score(None, None, "no_target")
        return rule.score(grammar, text, target["truth"], frame)

    def report(self, records: Sequence[Record]) -> JsonObject:
        """What the authors print beside one accuracy; ``records`` are graded, sorted by id and never empty."""
        return {}

    def marks(self, target: Mapping[str, Any], size: Sequence[int]) -> list[Mark]:
        """What to draw of a target on a screen of ``size`` (width, height), in pixels of the file."""
        return box_marks(target)

    def boxes(self, target: Mapping[str, Any], size: tuple[int, int]) -> tuple[Box, ...]:
        """The rectangles around what an answer must hit, in pixels of the file; () for a target that is no place.

        Args:
            target: of a sample.
            size: (width, height) of the last file.
        """
        return listed_boxes(target, size)

    def faults(self, target: Mapping[str, Any], screen: Screen) -> Iterator[Fault]:
        """What is wrong with an annotation that could be read; may raise whatever a broken one makes it raise."""
        return listed_box(target, screen)


class FixedRules(Benchmark):
    """A benchmark whose tasks all have the same protocols."""

    _rules: ClassVar[Mapping[str, Rule]]

    def rules(self, spec: TaskSpec) -> Mapping[str, Rule]:
        return self._rules


def box_marks(target: Mapping[str, Any]) -> list[Mark]:
    """The box or polygon of a target, where it has one."""
    truth = target.get("truth") or {}
    if target.get("type") == "region" and truth["box_type"] == "polygon" and len(truth["box_coordinates"]) >= 6:
        return [("polygon", list(truth["box_coordinates"]))]
    if "box_xyxy" in target:
        return [("box", list(target["box_xyxy"]))]
    if isinstance(target.get("action"), dict) and "box_xyxy" in target["action"]:  # the embedded suite
        return [("box", list(target["action"]["box_xyxy"]))]
    return []


def screen_size(frame: Frame) -> tuple[int, int]:
    """(width, height) of the stored screenshot."""
    size: tuple[int, int] = tuple(frame["file_sizes"][-1])
    return size


def measured(score: Score, type_match: Any, grounding: Any, **more: Any) -> Score:
    """A step's score with the secondary measures that every step benchmark reports.

    Args:
        score: of the rule.
        type_match: is the kind of action right?
        grounding: is the place right, where the annotation points and the kind is right; else None.
        **more: further parts.
    """
    parts = {
        **score.parts,
        "type_match": int(bool(type_match)),
        "grounding": None if grounding is None else int(bool(grounding)),
        **more,
    }
    return replace(score, parts=parts)


def refused_step(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    """An unreadable answer to a step."""
    return error.score({"type_match": 0, "grounding": None})


def plain(value: Any) -> Any:
    """JSON values: a number without an end becomes None, a tuple a list, an action its fields that are not empty."""
    if isinstance(value, Action):
        return None if value.kind == "invalid" else plain({k: v for k, v in asdict(value).items() if v})
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def share(records: Sequence[Record]) -> float:
    """Mean score."""
    return float(sum(r["score"] for r in records) / len(records))


def by_meta(records: Sequence[Record], key: str) -> dict[str, list[Record]]:
    """Records by the text of one key of their ``meta``."""
    groups: dict[str, list[Record]] = {}
    for r in records:
        groups.setdefault(str(r["meta"].get(key)), []).append(r)
    return groups


def episode_success(records: Sequence[Record]) -> float:
    """Share of episodes whose present steps are all right."""
    right: dict[str, bool] = {}
    for r in records:
        cluster = r["cluster"] or r["id"]
        right[cluster] = right.get(cluster, True) and r["score"] == 1
    return sum(right.values()) / len(right)


__all__ = ["Benchmark", "Fault", "FixedRules", "Frame", "Item", "Mark", "Record", "Records", "Rule", "Truth", "scale"]
