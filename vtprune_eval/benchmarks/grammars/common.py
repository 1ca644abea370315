"""What the grammars share on their way to an :class:`~..action.Action`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..action import Action, Point
from ..answers import place
from ..untrusted import Unreadable


def sizes(frame: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) of the screen as stored and as the model saw it."""
    return tuple(frame["file_sizes"][-1]), tuple(frame["model_sizes"][-1])


def scaled(pair: Any, frame: Mapping[str, Any]) -> Point:
    """A place in the model's frame as fractions; of a box its centre.

    Raises:
        Unreadable: it is no place.
    """
    point = place(pair)
    if point is None:
        raise Unreadable("no_point")
    kind = frame["coordinates"]
    width, height = (
        frame["model_sizes"][-1]
        if kind == "resized_pixels"
        else {"hundredths": (100, 100), "thousandths": (1000, 1000), "fractions": (1, 1)}[kind]
    )
    return point[0] / width, point[1] / height


def finish(word: str) -> Action:
    """The end of a task, from the words that a model ends it with."""
    word = word.lower()
    status = (
        "impossible"
        if "infeasible" in word or "impossible" in word
        else "failure"
        if "unsuccess" in word or "fail" in word
        else "success"
    )
    return Action("finish", status=status)


def scale(frame: Mapping[str, Any]) -> tuple[int, int]:
    """What the numbers of an answer are divided by: the size that the model really saw, or its relative frame."""
    size: tuple[int, int] = tuple(frame["model_sizes"][-1])
    relative = {"thousandths": (1000, 1000), "fractions": (1, 1), "hundredths": (100, 100)}
    return relative.get(frame["coordinates"], size)
