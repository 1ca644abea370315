"""How figures look: sizes of a column, fonts, colours; and how they are written.

Colours are Okabe and Ito's, which people with colour blindness tell apart; markers, line styles and hatches say the
same again, so that a print in grey loses nothing. Fonts are embedded as TrueType (type 42): submission systems refuse
type 3. The same rows give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError

FULL = "#000000"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
# Width of a text column and of a page's text, in inches (85 and 176 mm).
WIDTHS = {1: 3.35, 2: 6.93}
FONTS = {
    "sans": ["DejaVu Sans"],
    "serif": ["STIXGeneral", "DejaVu Serif"],  # the letters of Times
}
FORMATS = ("pdf", "svg", "png")
INTERVALS = ("auto", "band", "bars", "none")


@dataclass(frozen=True)
class Look:
    """Options of a figure.

    Attributes:
        columns: 1 (one column of a page) or 2 (its whole width), which is also how many panels stand side by side.
        width: in inches, None for that of ``columns``.
        height: of one panel in inches, None for what it needs.
        font: ``sans`` or ``serif``.
        size: of the text in points.
        intervals: ``band``, ``bars``, ``none``, or ``auto``: bands for up to four curves, else bars.
        labels: whether points carry their budgets.
        log: whether the cost has a logarithmic axis.
        title: above the figure, "" for none (a caption says it in a paper).
    """

    columns: int = 1
    width: float | None = None
    height: float | None = None
    font: str = "sans"
    size: float = 7.5
    intervals: str = "auto"
    labels: bool = True
    log: bool = False
    title: str = ""

    @property
    def inches(self) -> float:
        """Width of the figure."""
        return self.width or WIDTHS[self.columns]


def need_matplotlib() -> None:
    """Load matplotlib without a display.

    Raises:
        UserError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("figures need matplotlib: pip install 'vtprune_eval[plots]'.") from None
    matplotlib.use("Agg")


@contextmanager
def look_of(look: Look) -> Iterator[None]:
    """Matplotlib's settings while a figure is drawn and written."""
    import logging

    import matplotlib

    settings: dict[Any, Any] = {
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.hashsalt": "vtprune_eval",
        "font.family": "serif" if look.font == "serif" else "sans-serif",
        f"font.{'serif' if look.font == 'serif' else 'sans-serif'}": [*FONTS[look.font], "DejaVu Sans"],
        "mathtext.fontset": "stix" if look.font == "serif" else "dejavusans",
        "font.size": look.size,
        "axes.labelsize": look.size,
        "axes.titlesize": look.size,
        "xtick.labelsize": look.size - 0.5,
        "ytick.labelsize": look.size - 0.5,
        "legend.fontsize": look.size - 0.5,
        "axes.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.width": 0.5,
        "ytick.major.width": 0.5,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "grid.linewidth": 0.4,
        "hatch.linewidth": 0.4,
        "text.parse_math": False,  # a method's name may hold any character
    }
    log = logging.getLogger("fontTools")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(settings):
            yield
    finally:
        log.setLevel(before)


def mark(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of the curve ``number``; the first 56 differ in at least one of the first two."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
    }


def blank(width: float, height: float) -> Any:
    """An empty figure with a renderer that can measure text."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=300)
    FigureCanvasAgg(figure)
    return figure


def text_size(figure: Any, text: str, size: float) -> tuple[float, float]:
    """Width and height of a text (of one line or several) in inches."""
    drawn = figure.text(0, 0, text, fontsize=size)
    box = drawn.get_window_extent(figure.canvas.get_renderer())
    drawn.remove()
    return box.width / figure.dpi, box.height / figure.dpi


def wrapped(figure: Any, text: str, size: float, width: float) -> str:
    """A name in as many lines as it needs to be no wider than ``width`` inches, broken between its parts."""
    lines = [""]
    for piece in re.findall(r"\[?[^,+\[ :]*[,+ :]?", text.replace(" at ", " at\u00a0")):
        if lines[-1] and text_size(figure, lines[-1] + piece, size)[0] > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines if line.strip())


def apart(places: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Centres nearest to ``places`` for boxes of ``heights`` that do not overlap, within ``low`` and ``high``.

    Boxes keep the order of their places; where they touch they move as one block to the mean of what they wanted.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    blocks: list[tuple[list[int], float]] = []  # members, bottom of the block

    def bottom(members: list[int]) -> float:
        offset, wanted = 0.0, 0.0
        for i in members:
            wanted += places[i] - heights[i] / 2 - offset
            offset += heights[i]
        return min(max(wanted / len(members), low), max(low, high - offset))

    for i in order:
        blocks.append(([i], bottom([i])))
        while len(blocks) > 1:
            (before, start), (own, at) = blocks[-2:]
            if start + sum(heights[j] for j in before) <= at + 1e-9:
                break
            blocks[-2:] = [(before + own, bottom(before + own))]
    out = [0.0] * len(places)
    for members, start in blocks:
        for i in members:
            out[i] = start + heights[i] / 2
            start += heights[i]
    return out


def write(figure: Any, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Write a figure in several formats; returns the files.

    Raises:
        UserError: a place that cannot be written.
    """
    out = []
    for form in formats:
        path = stem.with_name(f"{stem.name}.{form}")
        stamp: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form, {})
        try:
            figure.savefig(path, metadata=stamp or None, dpi=300)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); choose another place with --out.") from None
        out.append(path)
    return out
