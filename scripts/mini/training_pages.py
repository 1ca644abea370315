"""Random pages of the training split: components scattered over the grid, invented words. No fixed template."""

from __future__ import annotations

import random

from . import design as d
from .vocabulary import training_word

# Grid sizes in blocks (columns, rows). The first two are the curriculum's small cards.
SIZES = {"card": (4, 2), "half": (7, 4), "pane": (8, 5), "square": (6, 6), "phone": (5, 8)}


class _Page:
    """Occupancy of a page under construction; every label on it is different."""

    def __init__(self, rng: random.Random, cols: int, rows: int) -> None:
        self.rng, self.cols, self.rows = rng, cols, rows
        self.low = rng.random() < 0.5
        self.cells: list[d.Cell] = []
        self.used: set[tuple[int, int]] = set()
        self.names: set[str] = set()

    def word(self, high: int = 8) -> str:
        while True:
            word = training_word(self.rng, high=high)
            if word not in self.names:
                self.names.add(word)
                return word

    def name(self, max_blocks: int) -> str:
        high = min(8, 4 * max_blocks)
        if max_blocks >= 4 and self.rng.random() < 0.35:
            return f"{self.word()} {training_word(self.rng)}"
        return self.word(high)

    def value(self, max_blocks: int) -> str:
        if self.rng.random() < 0.65:
            return str(self.rng.randint(0, 10 ** self.rng.randint(1, 4) - 1))
        return training_word(self.rng, high=min(8, 4 * max_blocks))

    def free(self, col: int, row: int, cols: int, rows: int = 1) -> bool:
        inside = col >= 0 and col + cols <= self.cols and row >= 0 and row + rows <= self.rows
        return inside and not any((c, r) in self.used for c in range(col, col + cols) for r in range(row, row + rows))

    def take(self, cell: d.Cell) -> d.Cell:
        self.used |= {
            (c, r) for c in range(cell.col, cell.col + cell.cols) for r in range(cell.row, cell.row + cell.rows)
        }
        self.cells.append(cell)
        return cell

    def spot(self, cols: int, rows: int = 1, tries: int = 12) -> tuple[int, int] | None:
        if cols > self.cols or rows > self.rows:
            return None
        for _ in range(tries):
            place = self.rng.randint(0, self.cols - cols), self.rng.randint(0, self.rows - rows)
            if self.free(*place, cols, rows):
                return place
        return None


def _button(p: _Page) -> None:
    name = p.name(min(5, p.cols))
    cols = min(p.cols, d.width_blocks(name) + p.rng.choice((0, 0, 1)))
    if spot := p.spot(cols):
        p.take(d.button(*spot, name, low=p.low, primary=p.rng.random() < 0.3, cols=cols))


def _row(p: _Page) -> None:
    name = p.name(min(4, p.cols))
    cols = min(p.cols, d.width_blocks(name) + p.rng.randint(0, 4))
    if spot := p.spot(cols):
        p.take(d.row_target(*spot, cols, name, low=p.low, cls=p.rng.choice(("", "rule", "panel"))))


def _icon(p: _Page) -> None:
    shown = {v for c in p.cells for k, v in c.data if k == "icon"}
    left = [n for n in d.ICONS if n not in shown]  # a large page may show all of them
    if left and (spot := p.spot(1)):
        name = p.rng.choice(left)
        p.take(d.icon(*spot, name, p.rng.choice(("", "", "pri", "sub"))))


def _label(p: _Page) -> None:
    name = p.name(min(4, p.cols))
    if spot := p.spot(d.width_blocks(name)):
        p.take(d.label(*spot, name, low=p.low, bold=p.rng.random() < 0.5))


def _pair(p: _Page) -> None:
    key, value = p.name(min(4, p.cols - 1)), p.value(2)
    kw, vw = d.width_blocks(key), d.width_blocks(value)
    if p.rng.random() < 0.3:  # the value stands under its key
        if spot := p.spot(max(kw, vw), 2):
            cells = d.fact(
                d.label(*spot, key, low=p.low), d.label(spot[0], spot[1] + 1, value, low=p.low, bold=True), "form"
            )
            for cell in cells:
                p.take(cell)
        return
    gap = p.rng.choice((0, 0, 1, 1, 2, 3, 4))
    if kw + gap + vw <= p.cols and (spot := p.spot(kw + gap + vw)):
        col = spot[0] + kw + gap
        shown = d.label(col, spot[1], value, low=p.low, bold=p.rng.random() < 0.3)
        if p.rng.random() < 0.3:
            shown = d.text_field(col, spot[1], vw, value, low=p.low)
        for cell in d.fact(d.label(*spot, key, low=p.low), shown, "form"):
            p.take(cell)


def _list(p: _Page) -> None:
    n, cols = p.rng.randint(2, 5), min(p.cols, p.rng.randint(3, 6))
    if spot := p.spot(cols, n):
        for i in range(n):
            p.take(d.row_target(spot[0], spot[1] + i, cols, p.name(cols), low=p.low, cls="rule"))


def _table(p: _Page) -> None:
    n_rows, n_cols = p.rng.randint(2, 5), p.rng.choice((1, 2, 2, 3))
    first, other = p.rng.choice((2, 2, 3)), p.rng.choice((2, 2, 1))
    spot = p.spot(first + other * n_cols, n_rows + 1)
    if not spot:
        return
    heads = [p.word(4 * other) for _ in range(n_cols)]
    for j, head in enumerate(heads):
        p.take(d.label(spot[0] + first + other * j, spot[1], head, low=p.low, bold=True))
    for i in range(1, n_rows + 1):
        row = p.word(8)
        p.take(d.label(spot[0], spot[1] + i, row, low=p.low))
        for j, head in enumerate(heads):
            value = str(p.rng.randint(0, 9999 if other > 1 else 999))
            cell = d.label(spot[0] + first + other * j, spot[1] + i, value, low=p.low)
            p.take(d.Cell(cell.col, cell.row, cell.cols, 1, cell.inner, cell.cls, (("cell", f"{row}|{head}"),)))


def _hbars(p: _Page) -> None:
    n = p.rng.randint(2, 6)
    cols = min(p.cols, p.rng.randint(5, 9))
    spot = p.spot(cols, n)
    if not spot or cols < 5:
        return
    for i in range(n):
        key, number = p.word(8), p.rng.randint(1, 999)
        length = max(1, round((cols - 4) * number / 999))
        value = d.label(spot[0] + 2 + length, spot[1] + i, str(number))
        for cell in d.fact(d.label(spot[0], spot[1] + i, key), value, "bar"):
            p.take(cell)
        p.take(d.hbar(spot[0] + 2, spot[1] + i, length, length * 32 - 8))


def _vbars(p: _Page) -> None:
    n, rows = p.rng.randint(2, 5), p.rng.randint(4, 7)
    spot = p.spot(2 * n, rows)
    if not spot:
        return
    for i in range(n):
        key, number = p.word(7), p.rng.randint(1, 999)
        height = max(1, round((rows - 2) * number / 999))
        col, base = spot[0] + 2 * i, spot[1] + rows - 1
        for cell in d.fact(
            d.label(col, base, key, low=True), d.label(col, base - height - 1, str(number), low=True), "bar"
        ):
            p.take(cell)
        p.take(d.vbar(col, base - height, height, height * 32 - 8))


def _tiles(p: _Page) -> None:
    """Figures side by side, every value under its key."""
    cols, across, down = p.rng.choice((2, 3, 3, 4)), p.rng.randint(2, 4), p.rng.randint(1, 3)
    spot = p.spot(cols * across, 2 * down)
    if not spot:
        return
    for i in range(across * down):
        col, row = spot[0] + cols * (i % across), spot[1] + 2 * (i // across)
        key = d.label(col, row, p.word(min(8, 4 * cols)), low=p.low)
        for cell in d.fact(key, d.label(col, row + 1, p.value(min(2, cols)), low=p.low, bold=True), "form"):
            p.take(cell)


def _panel(p: _Page) -> None:
    cols, rows = p.rng.randint(1, p.cols), p.rng.randint(1, p.rows)
    col, row = p.rng.randint(0, p.cols - cols), p.rng.randint(0, p.rows - rows)
    p.cells.append(d.panel(col, row, cols, rows))  # background only: occupies nothing


UI, DOC = (_button, _button, _row, _icon, _icon, _label, _list, _pair), (_pair, _pair, _pair, _list, _label)
GOALS = {
    "ui": UI,
    "form": DOC,
    "table": (_table,),
    "bars": (_hbars, _vbars),
    "tiles": (_tiles,),
    "field": (_button, _row, _label),
    "error": UI,
}


def page(rng: random.Random, size: str | tuple[int, int], kind: str) -> d.Screen:
    """One random page of ``size`` (a key of :data:`SIZES`, or columns and rows) and ``kind`` (of :data:`GOALS`)."""
    cols, rows = SIZES[size] if isinstance(size, str) else size
    p = _Page(rng, cols, rows)
    for _ in range(rng.choice((0, 1, 1, 2))):
        _panel(p)
    if kind == "field":
        row = rng.randint(0, rows - 1)
        p.take(d.text_field(0, row, rng.randint(3, cols), low=p.low, focused=True))
    if kind == "error":
        _error(p)
    if kind in {"table", "bars", "tiles"}:
        for _ in range(4):
            if p.used:
                break
            rng.choice(GOALS[kind])(p)
    area = cols * rows
    parts = UI + DOC if kind in {"table", "bars", "tiles"} else GOALS[kind]
    for _ in range(max(1, round(area * rng.uniform(0.06, 0.2)))):
        rng.choice(parts)(p)
    if kind == "ui" and rng.random() < 0.12:
        _error(p)
    return d.Screen(cols, rows, rng.choice(list(d.THEMES)), tuple(p.cells), f"random-{kind}")


def _error(p: _Page) -> None:
    """The fixed phrase of a failed page; part of the closed vocabulary of both splits."""
    if spot := p.spot(min(5, p.cols)):
        cell = d.label(*spot, "not found", low=p.low, bold=True)
        p.take(d.Cell(cell.col, cell.row, cell.cols, 1, cell.inner, cell.cls + " panel", (("target", ""),)))
