"""OS-Atlas's lines as its two rules compare them: words, whole numbers, and the line itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...sample import Score
from ..action import Action, button, content_direction, phone_word, thousandths
from ..grammars.osatlas import action_text, integers
from ..untrusted import NoCounterpart, Unreadable
from .distance import token_f1

TEXT_SIMILARITY = 0.5
THOUSANDTHS_DISTANCE = 0.14 * 1000
POINTED = ("CLICK", "LONG_PRESS")


@dataclass(frozen=True)
class Line:
    """An action line without its heading.

    Attributes:
        text: as written, blanks at the ends included.
        numbers: all runs of digits; None where one of them is too long to be read.
    """

    text: str
    numbers: tuple[int, ...] | None = ()

    @property
    def words(self) -> list[str]:
        """Blank-separated words."""
        return self.text.split()


def read(text: Any) -> Line:
    """The line of an answer.

    Raises:
        Unreadable: no heading, no text, too long.
    """
    return line(action_text(text))


def line(text: str) -> Line:
    """A line that is written without a heading, such as an annotation."""
    try:
        return Line(text, tuple(integers(text)))
    except Unreadable:
        return Line(text, None)


def on_texts(compare: Callable[[Line, Line], Score], text: Any, answer: str) -> Score:
    """One of the two rules on texts: an answer with its heading, an annotation without one."""
    try:
        return compare(read(text), line(answer))
    except Unreadable as error:
        return error.score({"correct": 0, "type_match": 0})


def line_of(action: Action) -> Line:
    """The line of an action; scroll words name the content, as in AndroidControl.

    Raises:
        Unreadable: no counterpart.
    """
    word = phone_word(action)
    if word in ("tap", "long_press") and action.point:
        x, y = (thousandths(v) for v in action.point)
        return Line(f"{'CLICK' if word == 'tap' else 'LONG_PRESS'} <point>[[{x},{y}]]</point>", (abs(x), abs(y)))
    if word == "scroll":
        return Line(f"SCROLL [{content_direction(action).upper()}]")
    if word == "button":
        return Line("ENTER" if button(action) == "enter" else f"PRESS_{button(action).upper()}")
    if word in ("type", "open"):
        return Line(f"{'TYPE' if word == 'type' else 'OPEN_APP'} [{action.text}]")
    simple = {"wait": "WAIT", "finish": "COMPLETE" if action.status == "success" else "IMPOSSIBLE"}
    if word not in simple:
        raise NoCounterpart
    return Line(simple[word])


def near(said: Sequence[int], true: Sequence[int]) -> bool:
    """Are two points within 140 thousandths?"""
    return bool(((said[0] - true[0]) ** 2 + (said[1] - true[1]) ** 2) ** 0.5 <= THOUSANDTHS_DISTANCE)


def plain_f1(said: str, true: str) -> float:
    """F1 of the sets of lower-case, blank-separated tokens; 0 if either is empty (OS-Atlas, SimpAgent)."""
    a, b = set(said.lower().split()), set(true.lower().split())
    return token_f1(a, b) if a and b else 0.0
