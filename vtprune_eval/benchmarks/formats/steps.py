"""Earlier steps of an episode, which only go into a prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..action import Action
from ..untrusted import Unreadable


def past_action(make: Callable[..., Action | None], *arguments: Any) -> Action | None:
    """An earlier step in common form, None where that is impossible: it only goes into a prompt."""
    try:
        return make(*arguments)
    except (Unreadable, KeyError, TypeError, IndexError):
        return None
