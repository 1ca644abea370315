"""Where images and turns stand in a question: marks inside its text, so that a question stays one text everywhere.

A mark is a private code point, which no data set uses. A question without them is one user's turn, its images first.
A question that begins with the mark of a turn is a conversation; every image of the sample has its place in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

IMAGE_AT = "\ue000"  # here stands the next image
# Here begins a turn of the role.
ROLES = {"\ue001": "system", "\ue002": "user", "\ue003": "assistant"}
_MARKS = {role: mark for mark, role in ROLES.items()}
_SPLIT = re.compile(f"([{''.join(ROLES)}])")
_ANY = re.compile(f"[{IMAGE_AT}{''.join(ROLES)}]")


def conversation(turns: Iterable[tuple[str, str]]) -> str:
    """A question of several turns, (role, text with :data:`IMAGE_AT` for images)."""
    return "".join(_MARKS[role] + text for role, text in turns)


def without_marks(text: str) -> str:
    """Text of a data set, in which nothing is a mark."""
    return _ANY.sub("\ufffd", text)


def readable(question: str) -> str:
    """The question for people: turns on lines of their own, images in words."""
    named = _SPLIT.sub(lambda found: f"\n[{ROLES[found[0]]}]\n", question)
    return named.replace(IMAGE_AT, "[image]").lstrip("\n") if named != question else question


def messages(n_images: int, question: str) -> list[dict[str, object]]:
    """The turns as a chat template takes them; one user's turn, its images first, where marks do not fit."""
    if question[:1] not in ROLES or question.count(IMAGE_AT) != n_images:
        return [{"role": "user", "content": content(n_images, question)}]
    _, *parts = _SPLIT.split(question)
    return [
        {"role": ROLES[mark], "content": content(text.count(IMAGE_AT), text)}
        for mark, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def content(n_images: int, text: str) -> list[dict[str, str]]:
    """One turn: the images first, or each where :data:`IMAGE_AT` stands, if as many do."""
    parts = text.split(IMAGE_AT)
    if not n_images or len(parts) != n_images + 1:
        return [{"type": "image"} for _ in range(n_images)] + [{"type": "text", "text": text}]
    out: list[dict[str, str]] = []
    for i, part in enumerate(parts):
        out += [{"type": "text", "text": part}] * bool(part) + [{"type": "image"}] * (i < n_images)
    return out
