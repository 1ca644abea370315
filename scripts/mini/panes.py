"""Larger screens of the evaluation split: the suite's own templates side by side as panes, with text 24 px high."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import design as d
from . import eval_pages as e

Shape = tuple[int, int]
Template = Callable[[random.Random, e.Words], d.Screen]

# Templates by the size of their pane, in blocks of 32 CSS px.
UI: dict[Shape, list[Template]] = {
    (8, 5): [e.preferences, e.inbox, e.workbench],
    (6, 6): [e.store, e.portal, e.sign_up],
    (5, 8): [e.options, e.feed],
}
DOCUMENT: dict[Shape, list[Template]] = {(8, 5): [e.ranking], (6, 6): [e.badge, e.columns], (5, 8): [e.record_card]}


@dataclass(frozen=True)
class Layout:
    """A screen's size in blocks of 32 CSS px and its panes (column, row, shape)."""

    cols: int
    rows: int
    panes: tuple[tuple[int, int, Shape], ...]

    @property
    def tokens(self) -> int:
        """Merge blocks of the screen as drawn."""
        return round(self.cols * SCALE) * round(self.rows * SCALE)


SCALE = 1.5  # device pixels per CSS pixel: text is 24 px high
DESK, SQUARE, PHONE = (8, 5), (6, 6), (5, 8)
LAYOUTS = {
    "squares": Layout(12, 6, ((0, 0, SQUARE), (6, 0, SQUARE))),  # 162 tokens
    "phones": Layout(10, 8, ((0, 0, PHONE), (5, 0, PHONE))),  # 180 tokens
    "split": Layout(12, 8, ((0, 0, SQUARE), (6, 0, PHONE))),  # 216 tokens
    "quarters": Layout(16, 10, ((0, 0, DESK), (8, 0, DESK), (0, 5, DESK), (8, 5, DESK))),  # 360 tokens
    "six": Layout(18, 12, tuple((6 * c, 6 * r, SQUARE) for r in range(2) for c in range(3))),  # 486 tokens
    "seven": Layout(
        20, 14, (*((5 * c, 0, PHONE) for c in range(4)), *((6 * c, 8, SQUARE) for c in range(3)))
    ),  # 630 tokens
}


def _shifted(cell: d.Cell, col: int, row: int, pane: int) -> d.Cell:
    """``cell`` moved to its pane; the tags that tie keys to values stay apart between panes."""
    data = tuple((k, f"{v}-{pane}" if k in ("key", "value") else v) for k, v in cell.data)
    return replace(cell, col=cell.col + col, row=cell.row + row, data=data)


def screen(rng: random.Random, name: str, kind: str) -> d.Screen:
    """A screen of layout ``name``; ``kind``: ``ui`` or ``document``, which at least one pane is, or all of a single."""
    layout, words = LAYOUTS[name], e.Words(rng)
    own = rng.randrange(len(layout.panes))
    cells: list[d.Cell] = []
    for i, (col, row, shape) in enumerate(layout.panes):
        document = kind == "document" if i == own else rng.random() < 0.4
        drawn = rng.choice((DOCUMENT if document else UI)[shape])(rng, words)
        cells += [_shifted(cell, col, row, i) for cell in drawn.cells]
    return d.Screen(layout.cols, layout.rows, rng.choice(list(d.THEMES)), tuple(cells), name)
