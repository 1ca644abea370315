"""Hand-made page templates of the evaluation split; none occurs in training, and neither do their words."""

from __future__ import annotations

import random
from collections.abc import Callable

from . import design as d
from .vocabulary import evaluation_word


class Words:
    """Different words for one page."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self._used = rng, set()

    def __call__(self, high: int = 8) -> str:
        while True:
            word = evaluation_word(self.rng, high=high)
            if word not in self._used:
                self._used.add(word)
                return word

    def two(self) -> str:
        return f"{self()} {self()}"

    def number(self, digits: int) -> str:
        return str(self.rng.randint(10 ** (digits - 1), 10**digits - 1))

    def icons(self, n: int) -> list[str]:
        return self.rng.sample(list(d.ICONS), n)


def _screen(rng: random.Random, cols: int, rows: int, cells: list[d.Cell], name: str) -> d.Screen:
    return d.Screen(cols, rows, rng.choice(list(d.THEMES)), tuple(cells), name)


def _title(col: int, row: int, text: str) -> d.Cell:
    return d.label(col, row, text, bold=True, low=True)


def preferences(rng: random.Random, w: Words) -> d.Screen:
    """Desktop: a side menu, two options with a button each, one icon."""
    cells = [d.panel(0, 0, 2, 5), *(d.row_target(0, i, 2, w(), low=True) for i in range(4)), _title(3, 0, w())]
    for i in range(2):
        cells += [d.label(3, 1 + 2 * i, w(), low=True), d.button(5, 1 + 2 * i, w(), low=True, primary=i == 0, cols=2)]
    cells += [d.icon(7, 0, w.icons(1)[0], "sub")]
    return _screen(rng, 8, 5, cells, "preferences")


def inbox(rng: random.Random, w: Words) -> d.Screen:
    """Desktop: a bar of icons and one main button, a list."""
    cells = [d.panel(0, 0, 8, 1), *(d.icon(2 * i, 0, n) for i, n in enumerate(w.icons(3)))]
    cells += [d.button(6, 0, w(), low=True, primary=True, cols=2)]
    cells += [d.row_target(0, 1 + i, 8, w.two() if i % 2 else w(), low=True, cls="rule") for i in range(4)]
    return _screen(rng, 8, 5, cells, "inbox")


def workbench(rng: random.Random, w: Words) -> d.Screen:
    """Desktop: a menu bar, a column of tools, a canvas, two buttons."""
    cells = [*(d.row_target(2 * i + 1, 0, 2, w(), low=True) for i in range(3)), d.panel(1, 1, 7, 3)]
    cells += [d.icon(0, 1 + i, n, "sub") for i, n in enumerate(w.icons(3))]
    cells += [d.button(2, 3, w(), low=True, cols=2), d.button(5, 3, w(), low=True, primary=True, cols=2)]
    return _screen(rng, 8, 5, cells, "workbench")


def store(rng: random.Random, w: Words) -> d.Screen:
    """Web: a search bar, two product cards with a button each."""
    cells = [d.text_field(0, 0, 4, low=True), d.icon(4, 0, "search", "pri"), d.icon(5, 0, "user")]
    for r in range(2):
        row = 1 + 2 * r
        cells += [
            d.panel(0, row, 6, 2),
            d.label(0, row, w(), low=True),
            d.label(3, row, w.number(2), low=True),
            d.button(0, row + 1, w(), low=True, primary=True, cols=3),
        ]
    return _screen(rng, 6, 6, cells, "store")


def portal(rng: random.Random, w: Words) -> d.Screen:
    """Web: tabs, links, footer icons."""
    cells = [d.panel(0, 0, 6, 1), *(d.row_target(3 * i, 0, 2, w(), low=True) for i in range(2))]
    cells += [d.row_target(0, 1 + i, 6, w.two() if i % 2 else w(), low=True, cls="rule") for i in range(4)]
    cells += [d.icon(1 + 3 * i, 5, n) for i, n in enumerate(w.icons(2))]
    return _screen(rng, 6, 6, cells, "portal")


def sign_up(rng: random.Random, w: Words) -> d.Screen:
    """Web: labelled fields and two buttons in a panel."""
    cells = [d.panel(0, 0, 6, 6), _title(0, 0, w()), d.icon(5, 0, "close")]
    for i in range(2):
        cells += [d.label(0, 1 + i, w(), low=True), d.text_field(3, 1 + i, 3, w(), low=True)]
    cells += [d.button(0, 4, w(), low=True, primary=True, cols=2), d.button(3, 4, w(), low=True, cols=2)]
    return _screen(rng, 6, 6, cells, "sign-up")


def options(rng: random.Random, w: Words) -> d.Screen:
    """Mobile: header, rows, a bar of icons at the bottom."""
    cells = [d.panel(0, 0, 5, 1), d.icon(0, 0, "menu"), _title(1, 0, w())]
    cells += [d.row_target(0, 1 + i, 5, w.two() if i == 2 else w(), low=True, cls="rule") for i in range(5)]
    cells += [d.panel(0, 7, 5, 1), *(d.icon(1 + 2 * i, 7, n) for i, n in enumerate(w.icons(2)))]
    return _screen(rng, 5, 8, cells, "options")


def feed(rng: random.Random, w: Words) -> d.Screen:
    """Mobile: two cards with a title, a button and an icon each."""
    cells = [_title(0, 0, w())]
    for i, name in enumerate(w.icons(2)):
        row = 1 + 3 * i
        cells += [
            d.panel(0, row, 5, 3),
            d.label(0, row, w(), low=True),
            d.button(0, row + 1, w(), low=True, cols=3),
            d.icon(4, row + 1, name, "sub"),
        ]
    return _screen(rng, 5, 8, cells, "feed")


def record_card(rng: random.Random, w: Words) -> d.Screen:
    """Document: title, keys on the left, values in one column."""
    cells = [_title(0, 0, w()), d.panel(0, 1, 5, 6)]
    for i in range(5):
        value = w.number(rng.randint(2, 4)) if i % 2 else w()
        cells += d.fact(d.label(0, 1 + i, w(), low=True), d.label(3, 1 + i, value, low=True), "form")
    return _screen(rng, 5, 8, cells, "record-card")


def badge(rng: random.Random, w: Words) -> d.Screen:
    """Document: two columns, every value under its key."""
    cells = [_title(0, 0, w())]
    for c in range(2):
        for r in range(2):
            col, row = 3 * c, 1 + 2 * r
            value = w() if (r + c) % 2 else w.number(4)
            cells += d.fact(d.label(col, row, w(), low=True), d.label(col, row + 1, value, low=True, bold=True), "form")
    return _screen(rng, 6, 6, cells, "badge")


def invoice(rng: random.Random, w: Words) -> d.Screen:
    """Document: head, positions with two number columns, a total."""
    heads = [w(7), w(7)]
    cells = [d.panel(0, 0, 6, 1), *(d.label(2 + 2 * j, 0, h, low=True, bold=True) for j, h in enumerate(heads))]
    for i in range(3):
        cells += _row(0, 1 + i, w(), 2, heads, [w.number(2), w.number(4)])
    cells += d.fact(d.label(0, 4, w(), low=True, bold=True), d.label(4, 4, w.number(4), low=True, bold=True), "invoice")
    return _screen(rng, 6, 6, cells, "invoice")


def _row(col: int, row: int, name: str, first: int, heads: list[str], values: list[str]) -> list[d.Cell]:
    """A table row; its value cells know their row and column."""
    cells = [d.label(col, row, name, low=True)]
    for j, (head, value) in enumerate(zip(heads, values, strict=True)):
        cell = d.label(col + first + 2 * j, row, value, low=True)
        cells.append(d.Cell(cell.col, cell.row, cell.cols, 1, cell.inner, cell.cls, (("cell", f"{name}|{head}"),)))
    return cells


def report_table(rng: random.Random, w: Words) -> d.Screen:
    """Document: a full-width table of three number columns."""
    heads = [w(7) for _ in range(3)]
    cells = [d.panel(0, 0, 8, 1)]
    cells += [d.label(2 + 2 * j, 0, h, low=True, bold=True) for j, h in enumerate(heads)]
    for i in range(4):
        cells += _row(0, 1 + i, w(), 2, heads, [w.number(rng.randint(2, 4)) for _ in heads])
    return _screen(rng, 8, 5, cells, "report-table")


def ranking(rng: random.Random, w: Words) -> d.Screen:
    """Chart: horizontal bars with their numbers."""
    cells = [d.panel(0, 0, 8, 5)]
    for i in range(4):
        number = rng.randint(20, 990)
        length = max(1, round(4 * number / 999))
        cells += [
            *d.fact(d.label(0, 1 + i, w()), d.label(2 + length, 1 + i, str(number)), "bar"),
            d.hbar(2, 1 + i, length, length * 32 - 8),
        ]
    return _screen(rng, 8, 5, cells, "ranking")


def columns(rng: random.Random, w: Words) -> d.Screen:
    """Chart: vertical bars on a panel."""
    cells = [d.panel(0, 0, 6, 6)]
    for i in range(3):
        number = rng.randint(20, 990)
        height = max(1, round(4 * number / 999))
        col = 2 * i
        cells += [
            *d.fact(d.label(col, 5, w(7), low=True), d.label(col, 4 - height, str(number), low=True), "bar"),
            d.vbar(col, 5 - height, height, height * 32 - 8),
        ]
    return _screen(rng, 6, 6, cells, "columns")


GROUNDING: list[tuple[str, Callable[[random.Random, Words], d.Screen]]] = [
    ("desktop", preferences),
    ("desktop", inbox),
    ("desktop", workbench),
    ("web", store),
    ("web", portal),
    ("web", sign_up),
    ("mobile", options),
    ("mobile", feed),
]
DOCUMENTS: list[tuple[str, Callable[[random.Random, Words], d.Screen]]] = [
    ("form", record_card),
    ("form", badge),
    ("invoice", invoice),
    ("table", report_table),
    ("bar", ranking),
    ("bar", columns),
]


def step_screen(rng: random.Random, w: Words, shape: str, kind: str) -> d.Screen:
    """A small screen of an episode: ``menu``, ``tiles``, ``codes`` (names with codes), ``entry`` (a focused field), or
    ``lost`` (the fixed phrase of a failed page). ``shape`` is ``phone`` or ``pane``."""
    cols, rows = (5, 8) if shape == "phone" else (8, 5)
    title = d.label(1, 0, w(), low=True, bold=True)
    cells = [d.panel(0, 0, cols, 1), title]
    if kind == "menu":
        cells += [d.row_target(0, 1 + i, cols, w(), low=True, cls="rule") for i in range(rows - 3)]
        cells += [d.icon(c, rows - 1, n, "sub") for c, n in zip((0, 2, 4), w.icons(3), strict=True)]
    elif kind == "tiles":
        cells += [
            d.button(c, r, w(), low=True, cols=2, primary=(c + r) % 4 == 1)
            for r in range(1, rows - 1, 2)
            for c in range(0, cols - 1, 3)
        ]
    elif kind == "codes":
        for i in range(rows - 3):
            cells += d.fact(d.label(0, 1 + i, w(), low=True), d.label(cols - 2, 1 + i, w.number(4), low=True), "form")
        cells += [d.button(1, rows - 2, w(), low=True, cols=2)]
    elif kind == "entry":
        cells += [
            d.label(0, 2, w(), low=True),
            d.text_field(0, 3, 4, low=True, focused=True),
            d.row_target(cols - 3, 1, 3, w(), low=True),
        ]
    else:
        lost = d.label(1, 2, "not found", low=True, bold=True)
        cells += [
            d.Cell(lost.col, 2, lost.cols, 1, lost.inner, lost.cls + " panel", (("target", ""),)),
            d.button(1, 3, w(), low=True, cols=2),
        ]
    return _screen(rng, cols, rows, cells, kind)
