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
    """Desktop: a side menu, three options with buttons."""
    cells = [d.panel(0, 0, 3, 8), *(d.row_target(0, 1 + i, 3, w(), low=True) for i in range(5)), _title(4, 0, w.two())]
    for i in range(3):
        cells += [d.label(4, 2 + 2 * i, w(), low=True), d.button(9, 2 + 2 * i, w(), low=True, primary=i == 0, cols=2)]
    cells += [d.icon(11, 0, w.icons(1)[0], "sub")]
    return _screen(rng, 12, 8, cells, "preferences")


def inbox(rng: random.Random, w: Words) -> d.Screen:
    """Desktop: a tool bar of icons, a list, one main button."""
    cells = [d.panel(0, 0, 12, 1), *(d.icon(2 * i, 0, n) for i, n in enumerate(w.icons(4)))]
    cells += [d.button(9, 0, w(), low=True, primary=True, cols=2), _title(0, 1, w())]
    cells += [d.row_target(0, 2 + i, 12, w.two(), low=True, cls="rule") for i in range(5)]
    return _screen(rng, 12, 8, cells, "inbox")


def workbench(rng: random.Random, w: Words) -> d.Screen:
    """Desktop: a menu bar, a column of tools, a canvas, two buttons."""
    cells = [*(d.row_target(2 * i, 0, 2, w(), low=True) for i in range(5)), d.panel(1, 1, 11, 6)]
    cells += [d.icon(0, 1 + i, n, "sub") for i, n in enumerate(w.icons(5))]
    cells += [d.label(4, 3, w.two(), low=True), d.button(7, 6, w(), low=True, cols=2),
              d.button(10, 6, w(), low=True, primary=True, cols=2)]
    return _screen(rng, 12, 8, cells, "workbench")


def store(rng: random.Random, w: Words) -> d.Screen:
    """Web: search bar, four product cards with a button each."""
    cells = [_title(0, 0, w()), d.text_field(3, 0, 5, low=True), d.icon(8, 0, "search", "pri"), d.icon(9, 0, "user")]
    for r in range(2):
        for c in range(2):
            col, row = 5 * c, 2 + 4 * r
            cells += [d.panel(col, row, 4, 3), d.label(col, row, w(), low=True),
                      d.label(col + 2, row, w.number(2), low=True),
                      d.button(col, row + 1, w(), low=True, primary=True, cols=3)]
    return _screen(rng, 10, 10, cells, "store")


def portal(rng: random.Random, w: Words) -> d.Screen:
    """Web: tabs, two columns of links, footer icons."""
    cells = [d.panel(0, 0, 10, 1), *(d.row_target(2 * i + i // 2, 0, 2, w(), low=True) for i in range(4))]
    cells += [_title(0, 2, w()), _title(5, 2, w())]
    cells += [d.row_target(5 * c, 3 + i, 4, w.two() if i % 2 else w(), low=True, cls="rule") for c in range(2)
              for i in range(4)]
    cells += [d.icon(1 + 3 * i, 9, n) for i, n in enumerate(w.icons(3))]
    return _screen(rng, 10, 10, cells, "portal")


def sign_up(rng: random.Random, w: Words) -> d.Screen:
    """Web: labelled fields and two buttons in a panel."""
    cells = [d.panel(1, 1, 8, 8), _title(2, 1, w.two())]
    for i in range(3):
        cells += [d.label(2, 3 + i, w(), low=True), d.text_field(5, 3 + i, 3, w(), low=True)]
    cells += [d.button(2, 7, w(), low=True, primary=True, cols=2), d.button(6, 7, w(), low=True, cols=2)]
    cells += [d.icon(8, 1, "close")]
    return _screen(rng, 10, 10, cells, "sign-up")


def options(rng: random.Random, w: Words) -> d.Screen:
    """Mobile: header, rows, a bar of icons at the bottom."""
    cells = [d.panel(0, 0, 6, 1), d.icon(0, 0, "menu"), _title(2, 0, w())]
    cells += [d.row_target(0, 2 + i, 6, w.two() if i % 3 == 0 else w(), low=True, cls="rule") for i in range(7)]
    cells += [d.panel(0, 12, 6, 1), *(d.icon(1 + 2 * i, 12, n) for i, n in enumerate(w.icons(2)))]
    return _screen(rng, 6, 13, cells, "options")


def feed(rng: random.Random, w: Words) -> d.Screen:
    """Mobile: three cards with a title, a button and an icon each."""
    cells = [_title(0, 0, w())]
    for i, name in enumerate(w.icons(3)):
        row = 1 + 4 * i
        cells += [d.panel(0, row, 6, 3), d.label(0, row, w.two(), low=True),
                  d.button(0, row + 1, w(), low=True, cols=3), d.icon(5, row + 1, name, "sub")]
    return _screen(rng, 6, 13, cells, "feed")


def record_card(rng: random.Random, w: Words) -> d.Screen:
    """Document: title, keys on the left, values in one column."""
    cells = [_title(0, 0, w.two()), d.panel(0, 1, 9, 8)]
    for i in range(7):
        value = w.number(rng.randint(2, 4)) if i % 2 else w()
        cells += d.fact(d.label(0, 1 + i, w(), low=True), d.label(4, 1 + i, value, low=True), "form")
    return _screen(rng, 9, 11, [*cells, d.label(0, 10, w.two())], "record-card")


def badge(rng: random.Random, w: Words) -> d.Screen:
    """Document: two columns, every value under its key."""
    cells = [_title(0, 0, w.two())]
    for c in range(2):
        for r in range(3):
            col, row = 5 * c, 2 + 3 * r
            value = w() if (r + c) % 2 else w.number(4)
            cells += d.fact(d.label(col, row, w(), low=True), d.label(col, row + 1, value, low=True, bold=True), "form")
    return _screen(rng, 10, 11, cells, "badge")


def invoice(rng: random.Random, w: Words) -> d.Screen:
    """Document: head, positions with two number columns, a total."""
    heads = [w(), w()]
    cells = [_title(0, 0, w()), *d.fact(d.label(5, 0, w(), low=True), d.label(7, 0, w.number(4), low=True), "invoice")]
    cells += [d.panel(0, 2, 9, 1), *(d.label(4 + 2 * j, 2, h, low=True, bold=True) for j, h in enumerate(heads))]
    for i in range(4):
        cells += _row(0, 3 + i, w(), 4, heads, [w.number(2), w.number(4)])
    cells += d.fact(d.label(0, 8, w(), low=True, bold=True), d.label(6, 8, w.number(4), low=True, bold=True), "invoice")
    return _screen(rng, 9, 11, cells, "invoice")


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
    cells = [_title(0, 0, w.two()), d.panel(0, 1, 12, 1)]
    cells += [d.label(3 + 2 * j, 1, h, low=True, bold=True) for j, h in enumerate(heads)]
    for i in range(5):
        cells += _row(0, 2 + i, w(), 3, heads, [w.number(rng.randint(2, 4)) for _ in heads])
    return _screen(rng, 12, 8, cells, "report-table")


def ranking(rng: random.Random, w: Words) -> d.Screen:
    """Chart: horizontal bars with their numbers."""
    cells = [d.label(0, 0, w.two(), bold=True)]
    for i in range(5):
        number = rng.randint(20, 990)
        length = max(1, round(6 * number / 999))
        cells += [*d.fact(d.label(1, 2 + i, w()), d.label(3 + length, 2 + i, str(number)), "bar"),
                  d.hbar(3, 2 + i, length, length * 32 - 8)]
    return _screen(rng, 12, 8, cells, "ranking")


def columns(rng: random.Random, w: Words) -> d.Screen:
    """Chart: vertical bars on a panel."""
    cells = [_title(0, 0, w.two()), d.panel(0, 1, 10, 8)]
    for i in range(4):
        number = rng.randint(20, 990)
        height = max(1, round(5 * number / 999))
        col = 1 + 2 * i
        cells += [*d.fact(d.label(col, 8, w(7), low=True), d.label(col, 7 - height, str(number), low=True), "bar"),
                  d.vbar(col, 8 - height, height, height * 32 - 8)]
    return _screen(rng, 10, 10, cells, "columns")


GROUNDING: list[tuple[str, Callable[[random.Random, Words], d.Screen]]] = [
    ("desktop", preferences), ("desktop", inbox), ("desktop", workbench), ("web", store), ("web", portal),
    ("web", sign_up), ("mobile", options), ("mobile", feed),
]
DOCUMENTS: list[tuple[str, Callable[[random.Random, Words], d.Screen]]] = [
    ("form", record_card), ("form", badge), ("invoice", invoice), ("table", report_table), ("bar", ranking),
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
        cells += [d.button(c, r, w(), low=True, cols=2, primary=(c + r) % 4 == 1)
                  for r in range(1, rows - 1, 2) for c in range(0, cols - 1, 3)]
    elif kind == "codes":
        for i in range(rows - 3):
            cells += d.fact(d.label(0, 1 + i, w(), low=True), d.label(cols - 2, 1 + i, w.number(4), low=True), "form")
        cells += [d.button(1, rows - 2, w(), low=True, cols=2)]
    elif kind == "entry":
        cells += [d.label(0, 2, w(), low=True), d.text_field(0, 3, 4, low=True, focused=True),
                  d.row_target(cols - 3, 1, 3, w(), low=True)]
    else:
        lost = d.label(1, 2, "not found", low=True, bold=True)
        cells += [d.Cell(lost.col, 2, lost.cols, 1, lost.inner, lost.cls + " panel", (("target", ""),)),
                  d.button(1, 3, w(), low=True, cols=2)]
    return _screen(rng, cols, rows, cells, kind)
