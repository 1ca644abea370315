"""SeeClick: Python dictionaries for actions, ``(x,y)`` or ``<box>`` for positions."""

from __future__ import annotations

import re
from typing import Any

from ..untrusted import Unreadable, bounded, literal

_BOX = re.compile(r"<box>\((\d{1,300}),(\d{1,300})\),\((\d{1,300}),(\d{1,300})\)</box>")
_NUMBER = re.compile(r"-?\d+\.?\d*")


def action(text: Any) -> dict[Any, Any]:
    """The dictionary of an answer such as ``{"action_type": 4, "click_point": (0.49,0.40)}``.

    Raises:
        Unreadable: the whole answer is no literal dictionary with an ``action_type``.
    """
    value = literal(text)
    if not isinstance(value, dict):
        raise Unreadable("not_a_dictionary", "TypeError")
    if "action_type" not in value:
        raise Unreadable("no_action_type", "KeyError")
    return value


def position(text: Any) -> tuple[float, float]:
    """The point of a grounding answer, in whatever frame the model wrote it.

    If the three letters ``box`` occur, the centre of the first ``<box>`` with whole numbers, read as thousandths. Else
    all numbers of the text: two are a point, four give the centre of two corners. The pattern wants a digit first:
    ``.2`` is 2, ``2e-1`` is two numbers.

    Raises:
        Unreadable: any other form.
    """
    text = bounded(text)
    if "box" in text:
        box = _BOX.search(text)
        if not box:
            raise Unreadable("no_box", "IndexError")
        x1, y1, x2, y2 = (int(v) for v in box.groups())
        return (x1 + x2) / 2 / 1000, (y1 + y2) / 2 / 1000
    numbers = [float(n) for n in _NUMBER.findall(text)]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    if len(numbers) == 4:
        return (numbers[0] + numbers[2]) / 2, (numbers[1] + numbers[3]) / 2
    raise Unreadable("wrong_count_of_numbers", "UnboundLocalError")
