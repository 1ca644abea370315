"""What GUI-KV's scripts read out of an answer, on AndroidControl and on Multimodal-Mind2Web."""

from __future__ import annotations

from typing import Any, TypedDict

from ..answers import Pair


class Understood(TypedDict, total=False):
    """An answer as the scripts hold it; what it does not say is empty.

    Attributes:
        operation: name of the action.
        click_point: fractions of the screen; null where there is none.
        direction: of a scroll.
        content: what is written, opened or selected.
        reason: why the answer could not be read.
    """

    operation: str
    click_point: Pair | None
    direction: Any
    content: Any
    reason: str


EMPTY: Understood = {"operation": "", "click_point": None, "direction": "", "content": "", "reason": ""}
