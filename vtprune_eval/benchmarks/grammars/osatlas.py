"""OS-Atlas: ``thoughts:`` and ``actions:`` headings, then ``CLICK <point>[[x,y]]</point>``, ``TYPE [text]`` ..."""

from __future__ import annotations

import re
from typing import Any

from ..untrusted import Unreadable, bounded

_HEADING = "actions:\n"
# The script strips these characters, not the token that they spell: an action that ends in one of them loses it.
_STRIPPED = "<|im_end|>"
_INTEGER = re.compile(r"\d+")


def action_text(text: Any) -> str:
    """What follows the first ``actions:`` heading (up to a second one), without the end-of-turn characters.

    Raises:
        Unreadable: no heading, no text, too long.
    """
    parts = bounded(text).split(_HEADING)
    if len(parts) < 2:
        raise Unreadable("no_actions_heading", "")
    return parts[1].strip(_STRIPPED)


def integers(text: str) -> list[int]:
    """All runs of digits; ``500.4`` gives 500 and 4.

    Raises:
        Unreadable: a run longer than 300 digits.
    """
    runs = _INTEGER.findall(text)
    if any(len(run) > 300 for run in runs):
        raise Unreadable("number_too_long")
    return [int(run) for run in runs]
