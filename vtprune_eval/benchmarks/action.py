"""One action type for the answers of every model family.

Published rules read their own authors' models as their authors do. The answer of any other family becomes an
:class:`Action` first and enters a rule where the rule compares. Words for scrolling mean the content in some languages
and the finger in others (tasks' page "model_io", section 7); :func:`content_direction` is the one place that knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from .untrusted import Unreadable

Point = tuple[float, float]
OPPOSITE = {"up": "down", "down": "up", "left": "right", "right": "left"}
_TAPS = ("tap", "double_tap", "right_tap", "triple_tap", "move")


@dataclass(frozen=True)
class Action:
    """What a model wants to do.

    Attributes:
        kind: ``tap``, ``double_tap``, ``right_tap``, ``triple_tap``, ``long_press``, ``move``, ``swipe``, ``scroll``,
            ``drag``, ``type``, ``select``, ``key``, ``hotkey``, ``button``, ``open``, ``wait``, ``answer``, ``finish``
            or ``invalid``.
        point: (x, y) as fractions of the screen; the start of a swipe or drag; of ``type`` and ``select`` where the
            model names the field.
        end: (x, y) as fractions, end of a swipe or drag.
        text: typed text, chosen option, app name, answer, or the button (``back``, ``home``, ``menu``, ``recent``,
            ``enter``).
        direction: ``up``, ``down``, ``left``, ``right`` in the family's own sense (see ``tasks`` pages: the word means
            the content in some data sets and the finger in others).
        amount: of a scroll, positive scrolls up.
        keys: of ``key`` and ``hotkey``.
        status: of ``finish``: ``success``, ``failure`` or ``impossible``.
        reason: of ``invalid``: why.
    """

    kind: str
    point: Point | None = None
    end: Point | None = None
    text: str = ""
    direction: str = ""
    amount: float | None = None
    keys: tuple[str, ...] = ()
    status: str = ""
    reason: str = ""


def invalid(reason: str) -> Action:
    """An answer that is no action."""
    return Action("invalid", reason=reason)


def content_direction(action: Action, *, finger_words: bool = False) -> str:
    """Which content a scroll or swipe brings up: ``up``, ``down``, ``left`` or ``right``.

    Args:
        action: a scroll, or a swipe or drag with both ends.
        finger_words: the model's scroll words name the finger's movement (GUI-Odyssey).

    Raises:
        Unreadable: no direction.
    """
    if action.kind == "scroll":
        if action.direction not in OPPOSITE:
            raise Unreadable("no_direction")
        return OPPOSITE[action.direction] if finger_words else action.direction
    if action.point is None or action.end is None:
        raise Unreadable("no_direction")
    dx, dy = action.end[0] - action.point[0], action.end[1] - action.point[1]
    if abs(dx) > abs(dy):
        return "left" if dx > 0 else "right"
    return "up" if dy > 0 else "down"


def phone_word(action: Action) -> str:
    """The kind of a phone action after everything that phones do not tell apart is merged: ``tap``, ``long_press``,
    ``scroll``, ``type``, ``button``, ``open``, ``wait``, ``finish``; other kinds unchanged."""
    if action.kind in _TAPS:
        return "tap"
    if action.kind in ("swipe", "drag"):
        return "scroll"
    if action.kind == "key" and tuple(k.lower() for k in action.keys) in (("enter",), ("return",)):
        return "button"
    return action.kind


def button(action: Action) -> str:
    """Name of a pressed button; the Enter key is one."""
    return "enter" if action.kind == "key" else action.text


def thousandths(fraction: float) -> int:
    """A fraction in whole thousandths; far outside stays outside, and stays a number."""
    return round(max(-1e9, min(1e9, 1000 * fraction)))
