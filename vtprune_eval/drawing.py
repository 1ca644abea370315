"""The one place that draws on pictures: a target's marks, an answered point, words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int] | str
TARGET, ANSWER, FAINT = (0, 158, 115), (213, 94, 0), (230, 159, 0)  # Okabe and Ito's green, vermilion and orange
PAPER, INK = (255, 255, 255), (20, 20, 20)
LINE, RIM = 3, 2  # pixels: width of a mark, and of the light edge that lets it stand out of a screen of its colour
RING, CROSS = 10, 8  # pixels: radius around a target that is a point, half the side of an answer's cross


def draw_marks(
    view: Image.Image, marks: Sequence[tuple[str, Sequence[float]]], size: tuple[int, int], *, faint: bool = True
) -> None:
    """Draw what is annotated of a target.

    Args:
        view: the picture, of any size; changed in place.
        marks: (kind, numbers in pixels of the file) as a benchmark names them: ``box`` and ``faint`` x1 y1 x2 y2 in any
            order of the corners, ``point`` x y, ``arrow`` x1 y1 x2 y2, ``polygon`` x y x y ...
        size: (width, height) of the file.
        faint: whether elements are drawn that are no target.
    """
    pen = ImageDraw.Draw(view)
    for kind, numbers in marks:
        p = [v * view.size[i % 2] / size[i % 2] for i, v in enumerate(numbers)]
        if kind == "box":
            pen.rectangle(_corners(p, 1), outline=TARGET, width=LINE)
        elif kind == "polygon":
            pen.line([*p, *p[:2]], fill=TARGET, width=LINE)
        elif kind == "point":
            pen.ellipse(_around(p, RING + RIM), outline=PAPER, width=LINE)
            pen.ellipse(_around(p, RING), outline=TARGET, width=LINE)
        elif kind == "arrow":  # its head is a dot
            pen.line(p, fill=TARGET, width=LINE)
            pen.ellipse(_around(p[2:], RING / 2), fill=TARGET)
        elif faint:
            pen.rectangle(_corners(p, 0), outline=FAINT, width=1)


def draw_answer(view: Image.Image, point: tuple[float, float]) -> None:
    """A cross at an answered point, in fractions of the picture; changed in place."""
    pen, (x, y) = ImageDraw.Draw(view), (point[0] * view.size[0], point[1] * view.size[1])
    for width, colour in ((2 * LINE, PAPER), (LINE, ANSWER)):
        for rise in (CROSS, -CROSS):
            pen.line([x - CROSS, y - rise, x + CROSS, y + rise], fill=colour, width=width)


def write(
    view: Image.Image, at: tuple[int, int], text: str, size: int, colour: Colour = INK, *, bold: bool = False
) -> None:
    """One line of text, its upper left corner ``at`` (x, y) in pixels; changed in place."""
    ImageDraw.Draw(view).text(at, text, fill=colour, font=_font(size), stroke_width=0.4 if bold else 0)


def wrapped(text: str, width: int, size: int, most: int) -> list[str]:
    """Lines of at most ``width`` pixels, broken at spaces where there are any; dots if ``most`` do not hold it."""
    lines: list[str] = []
    while text and len(lines) < most:
        n = len(text)
        while n > 1 and _font(size).getlength(text[:n]) > width:
            n -= 1
        space = text.rfind(" ", 1, n + 1)
        cut = n if n == len(text) or space < 1 else space
        lines.append(text[:cut])
        text = text[cut:].lstrip()
    if text:
        lines[-1] = lines[-1][:-3] + "..."
    return lines


def stacked(panels: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other on white."""
    sheet = Image.new("RGB", (max(p.width for p in panels), sum(p.height for p in panels)), PAPER)
    y = 0
    for panel in panels:
        sheet.paste(panel, (0, y))
        y += panel.height
    return sheet


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _corners(p: Sequence[float], wider: int) -> list[float]:
    """A rectangle around two corners, ``wider`` pixels on every side."""
    return [min(p[::2]) - wider, min(p[1::2]) - wider, max(p[::2]) + wider, max(p[1::2]) + wider]


def _around(p: Sequence[float], radius: float) -> list[float]:
    return [p[0] - radius, p[1] - radius, p[0] + radius, p[1] + radius]
