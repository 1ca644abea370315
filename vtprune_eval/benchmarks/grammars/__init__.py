"""How families of models write actions. Each module reads a family as its authors do, and gives its first action in
common form (:class:`~..action.Action`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..action import Action, invalid
from ..untrusted import Unreadable, bounded
from . import mini, opencua, osatlas, qwen, seeclick, ui_tars

GRAMMARS: dict[str, Callable[[str, Mapping[str, Any]], Action]] = {
    "ui_tars": ui_tars.action,
    "opencua": opencua.action,
    "qwen": qwen.action,
    "seeclick": seeclick.action,
    "osatlas": osatlas.action,
    "mini": mini.action,
}


def parse(grammar: str, text: Any, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer.

    Args:
        grammar: a key of ``GRAMMARS``.
        text: what the model wrote; never evaluated.
        frame: ``file_sizes`` and ``model_sizes``: (width, height) of every image as stored and as the model saw it; the
            last one is the screen. ``coordinates``: ``resized_pixels``, ``thousandths`` or ``fractions``.

    Returns:
        The action, ``invalid`` with a reason where there is none. Points outside the screen are kept.

    Raises:
        KeyError: unknown grammar (a fault of the caller, not of the text).
    """
    reader = GRAMMARS[grammar]
    try:
        return reader(bounded(text), frame)
    except Unreadable as error:
        return invalid(error.reason)


def understand(grammar: str, text: Any, frame: Mapping[str, Any]) -> Action:
    """The first action of an answer.

    Raises:
        Unreadable: it is no action.
    """
    action = parse(grammar, text, frame)
    if action.kind == "invalid":
        raise Unreadable(action.reason)
    return action
