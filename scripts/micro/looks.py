"""Where the decoder should look: attention targets of four layers, pointer targets, and an answer's evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .folder import PIECES
from .shown import Shown, Word

SPELT = rf"[0-9]|{PIECES}"  # a value is answered digit by digit

Question = tuple[str, str, tuple]  # question, answer, check
Look = tuple[int, int, int, list[int], list[int]]  # row, question, token, places for the first and the second head


def pieces(text: str, words: list[str], pattern: str = PIECES) -> list[tuple[int, str, int]]:
    """Tokens of ``text`` that belong to ``words``: (number of the token, word, first character inside the word)."""
    spans = [m.span() for m in re.finditer(pattern, text)]
    out = []
    for word in dict.fromkeys(words):
        for m in re.finditer(rf"\b{re.escape(word)}\b", text):
            out += [(i, word, a - m.start()) for i, (a, b) in enumerate(spans) if m.start() <= a and b <= m.end()]
    return out


class Screens:
    """The pages of one row; blocks are numbered through all of them."""

    def __init__(self, pages: list[Shown]) -> None:
        self.pages = pages
        self.blocks = pages[0].grid[0] * pages[0].grid[1]
        self.places: dict[str, list[tuple[int, Word]]] = {}
        for frame, page in enumerate(pages):
            for word in page.words:
                self.places.setdefault(word[0], []).append((frame, word))

    def icon(self, box: list[float]) -> list[int]:
        """Blocks of an icon on the last page."""
        last = len(self.pages) - 1
        return [last * self.blocks + k for k in self.pages[last].box_blocks(box)]

    def word(self, text: str, last_only: bool) -> list[int]:
        """Blocks of a word that stands in one place only (of the last page, if only that counts), else none."""
        found = self._only(text, last_only)
        return [found[0] * self.blocks + k for k in self.pages[found[0]].word_blocks(found[1])] if found else []

    def char(self, text: str, offset: int, last_only: bool) -> list[int]:
        """The block of one character of such a word."""
        found = self._only(text, last_only)
        if not found:
            return []
        return [found[0] * self.blocks + k for k in self.pages[found[0]].char_block(found[1], offset)]

    def _only(self, text: str, last_only: bool) -> tuple[int, Word] | None:
        last = len(self.pages) - 1
        found = [p for p in self.places.get(text, []) if not last_only or p[0] == last]
        return found[0] if len(found) == 1 else None


@dataclass
class Looks:
    """``attend``: per stage its targets; ``wanted``: pointer targets; ``seen``: blocks with an answer's evidence."""

    attend: list[list[Look]]
    wanted: np.ndarray
    seen: list[list[list[int]]]


def looks(rows: list[tuple[list[Shown], list[Question]]], starts: list[list[int]]) -> Looks:
    """Where the decoder should look.

    Stage 0: a character looks at the one or two before it. Stage 1: a character of a named word at the block that
    shows it. Stage 2: the tokens that predict the answer at the question's first and last named word. Stage 3: they
    look at the answer on the screen. Stages 0 and 2 count tokens within the question.

    Args:
        rows: pages and questions.
        starts: where each question's answer starts.
    """
    n_blocks = len(rows[0][0]) * Screens(rows[0][0]).blocks
    out = Looks([[], [], [], []], np.zeros((2, len(rows), len(rows[0][1]), n_blocks), np.float32), [])
    for b, (pages, pairs) in enumerate(rows):
        screens = Screens(pages)
        out.seen.append([_look(out, screens, pair, (b, s), starts[b][s]) for s, pair in enumerate(pairs)])
    out.wanted /= np.maximum(out.wanted.sum(-1, keepdims=True), 1)
    return out


def _look(out: Looks, screens: Screens, pair: Question, at: tuple[int, int], start: int) -> list[int]:
    """Add the targets of one question, ``at`` (row, question); returns the blocks with its answer's evidence."""
    question, answer, check = pair
    named, said, box, last_only = check[-1]
    icon = screens.icon(box) if box is not None else []
    evidence = set(icon)
    for head, words in ((0, named), (1, said)):
        out.wanted[head, at[0], at[1], icon] = 1
        for text in [] if icon else words:
            blocks = screens.word(text, last_only)
            out.wanted[head, at[0], at[1], blocks] = 1
            evidence.update(blocks)  # of a value its key, too: without it nothing says whose value it is
    asked = pieces(question, named)
    first = [t for t, word, _ in asked if word == named[0]]
    final = [t for t, word, _ in asked if word == named[-1]]
    shown: set[int] = set()
    for token, word, offset in asked:
        if offset >= 1:
            out.attend[0].append((*at, token, [token - 1], [token - min(2, offset)]))
        if places := icon or screens.char(word, offset, last_only):
            out.attend[1].append((*at, token, places, places))
            shown.update(places)
    if check[0] == "box":
        told = [(i, sorted(shown)) for i in (1, 2, 3, 4)]  # after the verb: space, number, space, number
    else:
        told = [(i, screens.char(word, offset, last_only)) for i, word, offset in pieces(answer, said, SPELT)]
    for i, places in told:
        if places:
            out.attend[3].append((*at, start + i - 1, places, places))
            if asked:
                out.attend[2].append((*at, start + i - 1, first, final))
    return sorted(evidence)
