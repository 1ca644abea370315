"""The design system of the mini suite: one style sheet, a few components, strict alignment.

Real design systems snap to a grid; this one snaps harder, so that a very small model can learn to read: the font is
monospaced with an advance of 8 px, every line is 16 px high, and every text run starts at a multiple of 16 px in both
directions. One 16x16 patch therefore shows one pair of characters (or none). All geometry comes from CSS grid with
32 px tracks; nothing is placed by pixel.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

BLOCK = 32

# Palettes: page, panel, text, muted line, accent, text on accent.
THEMES = {
    "light": ("#ffffff", "#eef1f5", "#1b1f24", "#c4cbd4", "#1f5fd0", "#ffffff"),
    "paper": ("#fbf8f1", "#efe9db", "#2b2620", "#cfc5b0", "#8a4b10", "#ffffff"),
    "dark": ("#15181d", "#232830", "#e6e9ee", "#3d4551", "#3f8cff", "#0b0d10"),
    "night": ("#0d1b2a", "#1b2b3f", "#e0e8f0", "#35506e", "#2aa198", "#06121d"),
}

# Simple line icons on a 24x24 view. They are a closed class: a name cannot be guessed from a shape never seen, so
# training and evaluation share them.
ICONS = {
    "add": "M12 4v16M4 12h16",
    "close": "M5 5l14 14M19 5L5 19",
    "check": "M4 13l5 6L20 5",
    "menu": "M3 6h18M3 12h18M3 18h18",
    "search": "M10 4a6 6 0 1 0 0 12a6 6 0 1 0 0-12M15 15l6 6",
    "home": "M3 12L12 4l9 8M6 11v9h12v-9",
    "mail": "M3 6h18v12H3zM3 6l9 7l9-7",
    "lock": "M6 11h12v9H6zM9 11V7a3 3 0 0 1 6 0v4",
    "play": "M7 4l12 8l-12 8z",
    "pause": "M8 4v16M16 4v16",
    "star": "M12 3l3 6l6 1l-4.500 4l1 7L12 18l-5.500 3l1-7L3 10l6-1z",
    "user": "M12 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8M4 21c1-7 15-7 16 0",
    "clock": "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M12 7v5l4 3",
    "up": "M12 20V4M5 11l7-7l7 7",
    "down": "M12 4v16M5 13l7 7l7-7",
    "trash": "M4 7h16M9 7V4h6v3M6 7l1 14h10l1-14",
}

CSS = """
*{box-sizing:border-box;margin:0;padding:0}
body{background:#888}
.scr{position:absolute;overflow:hidden;display:grid;grid-auto-rows:32px;
 font:13.2881px/16px 'DejaVu Sans Mono';text-rendering:geometricPrecision;
 background:var(--page);color:var(--text)}
.w{display:inline-block;vertical-align:top;height:16px;white-space:pre}
.c{position:relative}
.b{font-weight:bold}
.line{position:absolute;left:0;top:0;height:16px;white-space:nowrap;display:flex}
.low .line{top:16px}
.panel{background:var(--panel)}
.btn::before{content:'';position:absolute;inset:0;background:var(--panel);border:1px solid var(--rule)}
.btn.low::before{top:8px;bottom:-8px}
.btn:not(.low)::before{top:-8px;bottom:8px}
.btn.pri::before{background:var(--accent);border-color:var(--accent)}
.btn.pri{color:var(--on)}
.fld::before{content:'';position:absolute;inset:0;border:1px solid var(--rule);background:var(--page)}
.fld:not(.low)::before{top:-8px;bottom:8px}
.fld.low::before{top:8px;bottom:-8px}
.fld.on::before{border:2px solid var(--accent)}
.bar{position:absolute;background:var(--accent)}
.rule{border-bottom:1px solid var(--rule)}
.ico svg{position:absolute;left:4px;top:4px;width:24px;height:24px;fill:none;stroke:currentColor;stroke-width:2}
.ico.pri{background:var(--accent);color:var(--on)}
.ico.sub{background:var(--panel)}
"""


def words(text: str, bold: bool = False) -> str:
    """Word spans; each word takes whole 16 px columns so that the next one starts on the grid again."""
    spans = "".join(
        f'<span class="w" style="width:{(len(w) // 2 + 1) * 16}px">{html.escape(w)}</span>' for w in text.split()
    )
    return f'<div class="line{" b" if bold else ""}">{spans}</div>'


def width_blocks(text: str) -> int:
    """Grid columns (32 px) that ``text`` needs."""
    px = sum((len(w) // 2 + 1) * 16 for w in text.split())
    return max(1, -(-(px - (0 if len(text.split()[-1]) % 2 else 16)) // BLOCK)) if text.split() else 1


@dataclass(frozen=True)
class Cell:
    """One component on the grid: column and row from 0, spans in blocks, inner HTML, classes, data attributes."""

    col: int
    row: int
    cols: int
    rows: int
    inner: str
    cls: str = ""
    data: tuple[tuple[str, str], ...] = ()

    def html(self) -> str:
        """The component as one grid item."""
        attrs = "".join(f' data-{k}="{html.escape(v)}"' for k, v in self.data)
        place = f"grid-column:{self.col + 1}/span {self.cols};grid-row:{self.row + 1}/span {self.rows}"
        return f'<div class="c {self.cls}" style="{place}"{attrs}>{self.inner}</div>'


@dataclass(frozen=True)
class Screen:
    """A page ready to be drawn: size in blocks, theme, cells in drawing order, template name."""

    cols: int
    rows: int
    theme: str
    cells: tuple[Cell, ...]
    template: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.cols * BLOCK, self.rows * BLOCK

    def html(self, left: int, top: int) -> str:
        """The page as a block at ``left``, ``top`` (pixels) of a sheet."""
        page, panel, text, rule, accent, on = THEMES[self.theme]
        style = (
            f"left:{left}px;top:{top}px;width:{self.size[0]}px;height:{self.size[1]}px;"
            f"grid-template-columns:repeat({self.cols},32px);--page:{page};--panel:{panel};--text:{text};"
            f"--rule:{rule};--accent:{accent};--on:{on}"
        )
        return f'<div class="scr" style="{style}">{"".join(c.html() for c in self.cells)}</div>'


def panel(col: int, row: int, cols: int, rows: int, cls: str = "panel") -> Cell:
    """A flat background area."""
    return Cell(col, row, cols, rows, "", cls)


def label(col: int, row: int, text: str, *, low: bool = False, bold: bool = False) -> Cell:
    """Plain text; ``low`` puts it into the lower half of its block row."""
    return Cell(col, row, width_blocks(text), 1, words(text, bold), "low" if low else "")


def button(col: int, row: int, text: str, *, low: bool = False, primary: bool = False, cols: int = 0) -> Cell:
    """A push button; the whole box is the target."""
    cls = f"btn{' low' if low else ''}{' pri' if primary else ''}"
    return Cell(col, row, cols or width_blocks(text), 1, words(text), cls, (("target", text),))


def row_target(col: int, row: int, cols: int, text: str, *, low: bool = False, cls: str = "") -> Cell:
    """A list row, menu entry, tab or link; the whole row is the target."""
    return Cell(col, row, cols, 1, words(text), f"{'low ' if low else ''}{cls}", (("target", text),))


def icon(col: int, row: int, name: str, style: str = "") -> Cell:
    """An icon button of one block; ``style`` is ``pri``, ``sub`` or empty."""
    svg = f'<svg viewBox="0 0 24 24"><path d="{ICONS[name]}"/></svg>'
    return Cell(col, row, 1, 1, svg, f"ico {style}", (("icon", name),))


def text_field(col: int, row: int, cols: int, text: str = "", *, low: bool = False, focused: bool = False) -> Cell:
    """An input box with its content."""
    return Cell(col, row, cols, 1, words(text) if text else "", f"fld{' low' if low else ''}{' on' if focused else ''}")


def fact(key: Cell, value: Cell, kind: str) -> tuple[Cell, Cell]:
    """Mark two cells as a key and its value; the pair's answer is read from the DOM."""
    tag = f"{kind}-{key.col}-{key.row}-{value.col}-{value.row}"
    return (
        Cell(key.col, key.row, key.cols, key.rows, key.inner, key.cls, (*key.data, ("key", tag))),
        Cell(value.col, value.row, value.cols, value.rows, value.inner, value.cls, (*value.data, ("value", tag))),
    )


def hbar(col: int, row: int, cols: int, fill: int) -> Cell:
    """A horizontal bar, ``fill`` px long, drawn in the middle 16 px of a row."""
    return Cell(col, row, cols, 1, f'<div class="bar" style="left:0;top:0;width:{fill}px;height:16px"></div>')


def vbar(col: int, row: int, rows: int, fill: int) -> Cell:
    """A vertical bar, ``fill`` px high, standing on the lower edge of its cell."""
    return Cell(col, row, 1, rows, f'<div class="bar" style="left:4px;bottom:0;width:24px;height:{fill}px"></div>')
