"""What a task yields: one sample, before any model is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from .json_values import JsonObject

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels
# Reason of a score of None: the rule cannot read the annotation, so that no answer could be right.
UNSCORABLE = "unscorable"


def target_box(target: Mapping[str, Any]) -> Box | None:
    """The rectangle (x1, y1, x2, y2) around a target that is a place, in pixels of the last file; None for others.

    A polygon gives the rectangle around it. The action of a step has no box here: its target is an action.
    """
    box = target.get("box_xyxy")
    if box:
        return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    truth = target.get("truth") or {}
    corners = truth.get("box_coordinates") or []
    if truth.get("box_type") != "polygon" or len(corners) < 6:
        return None
    xs, ys = corners[::2], corners[1::2]
    return (float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys)))


def listed_boxes(target: Mapping[str, Any], size: tuple[int, int]) -> tuple[Box, ...]:
    """What a target in one of the shared forms (a box, a polygon, a step with a box) asks about; () for no place.

    Args:
        target: of a sample; a benchmark whose targets have a form of their own reads them itself
            (:meth:`~vtprune_eval.benchmarks.benchmark.Benchmark.boxes`).
        size: (width, height) of the last file; these forms do not need it.
    """
    action = target.get("action")
    box = target_box(target) or (target_box(action) if isinstance(action, Mapping) else None)
    return () if box is None else (box,)


@dataclass(frozen=True)
class Sample:
    """One question about one or more images.

    Attributes:
        id: unique in its task, stable over versions of the data.
        images: paths, oldest first; opened only when pixels are needed.
        question: the user text that follows the images.
        target: what the scorer needs; plain JSON values.
        cluster: samples with one cluster (an episode) are not independent; None means the sample stands alone.
        meta: breakdown keys (platform, target kind, ...).
        instruction: what is asked for, without the prompt around it; None where the question is nothing else.
        boxes_of: reads the target's boxes; its benchmark's :meth:`boxes`.
    """

    id: str
    images: tuple[Path, ...]
    question: str
    target: JsonObject
    cluster: str | None = None
    meta: JsonObject = field(default_factory=dict)
    instruction: str | None = None
    boxes_of: Callable[[Mapping[str, Any], tuple[int, int]], tuple[Box, ...]] = field(
        default=listed_boxes, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        """Half a surrogate pair, as a cut JSON escape leaves it, becomes a replacement sign: no tokenizer takes it."""
        for name in ("question", "instruction"):
            text = getattr(self, name)
            if text is not None and not text.isascii():
                whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                object.__setattr__(self, name, whole)

    def boxes(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """The rectangles around what an answer must hit, in pixels of the last file; () for no place.

        Args:
            size: (width, height) of the last file.
        """
        return self.boxes_of(self.target, size)


class Frame(TypedDict):
    """The frame of an answer's coordinates.

    Attributes:
        coordinates: what the model's numbers are: ``hundredths``, ``thousandths``, ``resized_pixels`` or
            ``fractions``.
        model_sizes: [width, height] of every image as the model saw it.
        file_sizes: [width, height] of every image file.
    """

    coordinates: str
    model_sizes: list[list[int]]
    file_sizes: list[list[int]]


@dataclass(frozen=True)
class Score:
    """What a scoring rule says of one answer.

    Attributes:
        value: score in [0, 1]; None where the sample has no accuracy. An unreadable answer is 0, never missing.
        parsed: the answer as understood (plain JSON values in records), None if it could not be read.
        reason: ``ok``, ``wrong``, ``partial``, ``format_error``, or the reason of a failed sample.
        parts: what the rule understood and its secondary measures, by the names of the rule's project.
        why: one word more than ``reason`` (``not_a_literal``, ``no_counterpart``, ...), empty where there is nothing
            to add.
        error: the exception with which the project's own code stops on this sample, empty where it does not.
        skipped: the project leaves the sample out of every count; here it counts with ``value``.
    """

    value: float | None
    parsed: Any = None
    reason: str = "ok"
    parts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    error: str = ""
    skipped: bool = False


def graded(value: float, parts: Mapping[str, Any] | None = None, *, parsed: Any = None, error: str = "") -> Score:
    """The score of an answer that could be read: ``ok`` for 1, ``wrong`` for 0, ``partial`` between."""
    reason = "ok" if value == 1 else "wrong" if value == 0 else "partial"
    return Score(float(value), parsed, reason, parts or {}, error=error)


def wrong(why: str, parts: Mapping[str, Any] | None = None, *, error: str = "", skipped: bool = False) -> Score:
    """An answer that could be read and cannot be right: ``why`` says what stands against it."""
    return Score(0.0, None, "wrong", parts or {}, why, error, skipped)


def unreadable(why: str, parts: Mapping[str, Any] | None = None, *, error: str = "") -> Score:
    """An answer that could not be read: ``why`` says where reading stopped."""
    return Score(0.0, None, "format_error", parts or {}, why, error)
