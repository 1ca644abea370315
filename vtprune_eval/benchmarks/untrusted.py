"""Reading text that a model wrote: literals only, bounded work, nothing is ever evaluated.

Every reader refuses with ``Unreadable``; scorers turn that into a wrong answer with the reason. All loops are linear in
the text, or the text is cut off at ``MAX_CHARS`` first.
"""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

from ..sample import Score, unreadable, wrong

# The longest answer any of the tasks allows (1,000 new tokens of actions) is a small part of this.
MAX_CHARS = 16_384
# Dictionaries and calls of the action grammars nest three deep; a parser meets trouble with hundreds.
MAX_LITERAL_CHARS = 8_192
MAX_DEPTH = 16


class Unreadable(ValueError):
    """Text that a grammar cannot read.

    Attributes:
        reason: one word for the record (``no_action``, ``too_long``, ``not_a_literal``, ...).
        like: the exception that the reference implementation raises there, empty where it does not raise.
    """

    def __init__(self, reason: str, like: str = "ValueError") -> None:
        super().__init__(reason)
        self.reason = reason
        self.like = like

    def score(self, parts: Mapping[str, Any] | None = None) -> Score:
        """The score of an answer that stopped here."""
        return unreadable(self.reason, parts)


class NoCounterpart(Unreadable):
    """An action that could be read and that the rule's language cannot express: wrong, and no format error."""

    def __init__(self, reason: str = "no_counterpart") -> None:
        super().__init__(reason, "")

    def score(self, parts: Mapping[str, Any] | None = None) -> Score:
        """See :meth:`Unreadable.score`."""
        return wrong(self.reason, parts)


def bounded(text: Any, limit: int = MAX_CHARS) -> str:
    """``text`` itself.

    Raises:
        Unreadable: it is no text, or longer than ``limit`` characters.
    """
    if not isinstance(text, str):
        raise Unreadable("not_text", "TypeError")
    if len(text) > limit:
        raise Unreadable("too_long", "")
    return text


def _check_depth(text: str) -> None:
    """Refuse brackets nested deeper than MAX_DEPTH outside of string literals: Python's own parser needs time that
    grows with the power of the depth on some broken inputs."""
    depth, quote, escaped = 0, "", False
    for c in text:
        if quote:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == quote:
                quote = ""
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable("too_deep", "SyntaxError")
        elif c in ")]}":
            depth -= 1


def _tree(text: str) -> ast.expr:
    """Syntax tree of one Python expression; nothing is compiled or run."""
    if len(text) > MAX_LITERAL_CHARS:
        raise Unreadable("too_long", "")
    _check_depth(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bad escape in the model's text is no concern of the user
            return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Unreadable("not_a_literal", "SyntaxError") from error


def literal(text: Any) -> Any:
    """A Python literal (numbers, texts, tuples, lists, dictionaries, sets, True, False, None).

    Raises:
        Unreadable: anything else.
    """
    tree = _tree(bounded(text).lstrip(" \t"))
    try:
        return ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise Unreadable("not_a_literal") from error


def call(text: str) -> tuple[str | None, dict[str | None, Any]]:
    """Name and keyword arguments of a written call ``name(key='value')``; positional arguments are ignored.

    Arguments that are no constants become None.

    Raises:
        Unreadable: the text is no call.
    """
    node = _tree(text)
    if not isinstance(node, ast.Call):
        raise Unreadable("not_a_call")
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
    return name, {k.arg: k.value.value if isinstance(k.value, ast.Constant) else None for k in node.keywords}


def json_value(text: Any) -> Any:
    """A JSON value.

    Raises:
        Unreadable: no valid JSON, nested deeper than the interpreter allows, or too long.
    """
    try:
        return json.loads(bounded(text))
    except (ValueError, RecursionError) as error:
        raise Unreadable("not_json", "JSONDecodeError") from error


def number_pair(value: Any) -> tuple[float, float] | None:
    """The first two entries of a list or tuple as finite floats, else None."""
    if not isinstance(value, (list, tuple)) or len(value) < 2:
        return None
    pair = value[:2]
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in pair):
        return None
    try:
        x, y = float(pair[0]), float(pair[1])
    except OverflowError:
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None
