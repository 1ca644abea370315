"""Where the time goes: stages of every row as a stacked bar, and how far the samples spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import UserError
from ..gathered import Row
from ..measures import stage_times
from .style import Look, blank, text_size, wrapped

# Stage, name in the legend, colour (a light and a dark one side by side), hatch.
STAGES = (
    ("image_decode_ms", "image decode", "#e69f00", ""),
    ("preprocess_ms", "preprocess", "#f5d28a", "////"),
    ("select_ms", "selector", "#d55e00", ""),
    ("vit_ms", "ViT", "#56b4e9", "...."),
    ("prefill_ms", "prefill", "#0072b2", ""),
    ("decode_ms", "decode", "#a6d8c7", "\\\\\\\\"),
)
BAR = 0.62  # of a row's height
CAPTION = "bars: median of every stage; whiskers: quartiles and median (line) of the samples' sums"


def figure_of(rows: Sequence[Row], tasks: Sequence[str], look: Look) -> Any:
    """One bar per row.

    Raises:
        UserError: no sample was timed.
    """
    timed = [(row, found) for row in rows if (found := stage_times(row, tasks))]
    if not timed:
        raise UserError("no sample of these rows was timed; run with --timings 8 (or --share off), then plot again.")
    small = look.size - 0.5
    figure = blank(look.inches, 1)
    line = text_size(figure, "Ag", small)[1]
    names = [wrapped(figure, row.name, small, 0.34 * look.inches) for row, _ in timed]
    left = max(text_size(figure, name, small)[0] for name in names) + 0.12
    heights = [max(0.17, text_size(figure, name, small)[1] + 0.05) for name in names]
    tall = look.height or sum(heights)
    shown = [s for s in STAGES if any(_median(found, s[0]) for _, found in timed)]
    legend = _legend_rows(figure, shown, small, look.inches)
    above = len(legend) * 1.6 * line + 0.04 + (1.6 * line if look.title else 0.0)
    below = 3.2 * line + 0.1
    height = above + tall + below
    figure.set_size_inches(look.inches, height)
    axes = figure.add_axes(
        (left / look.inches, below / height, (look.inches - left - 0.08) / look.inches, tall / height)
    )
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    at, top = [], 0.0
    for h in heights:
        at.append(top + h / 2)
        top += h
    for y, h, (_, found) in zip(at, heights, timed, strict=True):
        _bar(axes, y, min(h, 0.2) * BAR, found, shown)
    axes.set_ylim(top, 0)
    axes.set_xlim(left=0)
    axes.set_yticks(at, names, fontsize=small)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time of an answer (ms)", labelpad=2)
    _legend(figure, legend, small, line, look, height)
    return figure


def _median(found: Sequence[Mapping[str, float | None]], stage: str) -> float:
    values = [value for t in found if (value := t.get(stage)) is not None]
    return float(np.median(values)) if values else 0.0


def _bar(
    axes: Any, y: float, thick: float, found: Sequence[Mapping[str, float | None]], shown: Sequence[tuple[str, ...]]
) -> None:
    left = 0.0
    for stage, _, colour, hatch in shown:
        width = _median(found, stage)
        axes.barh(y, width, thick, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3)
        left += width
    totals = [sum(t.get(stage) or 0.0 for stage, *_ in shown) for t in found]
    low, middle, high = np.quantile(totals, (0.25, 0.5, 0.75))
    axes.plot([low, high], [y, y], color="black", linewidth=0.7, solid_capstyle="butt", zorder=4)
    for x, half in ((low, 0.35), (middle, 0.5), (high, 0.35)):
        axes.plot([x, x], [y - half * thick, y + half * thick], color="black", linewidth=0.7, zorder=4)


def _legend_rows(figure: Any, shown: Sequence[tuple[str, ...]], size: float, width: float) -> list[list[Any]]:
    """Entries of the legend in as many lines as fit the figure's width."""
    rows: list[list[Any]] = [[]]
    used = 0.0
    for stage in shown:
        wide = text_size(figure, stage[1], size)[0] + 0.3
        if rows[-1] and used + wide > width - 0.1:
            rows.append([])
            used = 0.0
        rows[-1].append((stage, wide))
        used += wide
    return rows


def _legend(figure: Any, rows: Sequence[Sequence[Any]], size: float, line: float, look: Look, height: float) -> None:
    from matplotlib.patches import Rectangle

    y = height - 0.8 * line
    if look.title:
        figure.text(0.5, y / height, look.title, ha="center", va="center", fontsize=look.size)
        y -= 1.6 * line
    for row in rows:
        x = 0.06
        for (_, name, colour, hatch), wide in row:
            box = Rectangle(
                (x / look.inches, (y - 0.4 * line) / height),
                0.14 / look.inches,
                0.8 * line / height,
                facecolor=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.3,
                transform=figure.transFigure,
            )
            figure.add_artist(box)
            figure.text((x + 0.18) / look.inches, y / height, name, fontsize=size, va="center")
            x += wide
        y -= 1.6 * line
