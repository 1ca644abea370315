"""Accuracy (or retention, or target recall) against a cost: one line per method, its name at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...naming import bare, named, parts_of, settings_in
from ...results.quantities import Quantity
from ..gathered import Gathered, Row
from ..measures import MEASURES, cost_of, value_of
from .style import FULL, Look, apart, blank, mark, text_size, wrapped

PANEL_HEIGHT = 2.1  # inches of a panel's axes where its names need no more
BANDS_UP_TO = 4


@dataclass(frozen=True)
class Point:
    """One row in a figure: cost in the unit of the axis, value and its interval in %, the text beside it."""

    x: float
    y: float
    low: float | None
    high: float | None
    text: str


@dataclass
class Series:
    """A method's points by rising cost; ``ranked`` is False for an upper bound that reads the target."""

    name: str
    points: list[Point]
    ranked: bool = True


@dataclass
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        series: its curves.
        full: point of the full model.
        missing: names of rows without such a value or cost.
    """

    title: str
    series: list[Series]
    full: Point | None = None
    missing: list[str] = field(default_factory=list)


def panel_of(
    data: Gathered, rows: Sequence[Row], title: str, tasks: Sequence[str], measure: str, cost: Quantity
) -> Panel:
    """The curves of some rows on some tasks."""
    panel = Panel(title, [])
    found: dict[str, list[tuple[Row, Point]]] = {}
    for row in rows:
        value = value_of(row, tasks, measure, data.full)
        x = None if value is None else cost_of(row, tasks, cost)
        if value is None or x is None:
            panel.missing.append(row.name)
            continue
        mean, low, high = (None if v is None else 100 * v for v in value)
        assert mean is not None
        point = Point(x, mean, low, high, _budget_text(row.budget))
        if row.method == "full":
            panel.full = panel.full or point
        else:
            found.setdefault(row.label, []).append((row, point))
    for name, own in _joined(found).items():
        points = sorted((p for _, p in own), key=lambda p: (p.x, p.y))
        panel.series.append(Series(name, points, all(r.ranked for r, _ in own)))
    return panel


def _budget_text(budget: str) -> str:
    if budget.replace(".", "", 1).isdecimal():
        return f"{budget}%"
    if budget.startswith("like:"):
        inside = settings_in(budget[5:])
        return ",".join(f"{k}={v}" for k, v in inside.items()) or "auto"
    return "" if budget == "-" else budget


def _joined(found: dict[str, list[tuple[Row, Point]]]) -> dict[str, list[tuple[Row, Point]]]:
    """Curves of a sweep: labels of one method that have one point each and differ in one setting become one curve,
    whose points carry that setting's value."""
    groups: dict[str, list[str]] = {}
    for label, own in found.items():
        if "[" in label and len(own) == 1:
            groups.setdefault(f"{bare(label)}@{own[0][0].budget.partition('[')[0]}", []).append(label)
    into: dict[str, tuple[str, str]] = {}
    for labels in groups.values():
        values = {label: _flat(label) for label in labels}
        keys = list(dict.fromkeys(k for v in values.values() for k in v))
        varied = [k for k in keys if len({v.get(k) for v in values.values()}) > 1]
        if len(labels) > 1 and len(varied) == 1:
            part, key = varied[0]
            for label in labels:
                parts = [
                    named(bare(p), {k: v for k, v in settings_in(p).items() if (i, k) != (part, key)})
                    for i, p in enumerate(parts_of(label))
                ]
                into[label] = ("+".join(parts), f"{key}={values[label].get((part, key), '')}")
    out: dict[str, list[tuple[Row, Point]]] = {}
    for label, own in found.items():
        name, text = into.get(label, (label, ""))
        out.setdefault(name, []).extend((row, Point(p.x, p.y, p.low, p.high, text) if text else p) for row, p in own)
    return out


def _flat(label: str) -> dict[tuple[int, str], str]:
    return {(i, k): v for i, part in enumerate(parts_of(label)) for k, v in settings_in(part).items()}


def figure_of(panels: Sequence[Panel], measure: str, cost: Quantity, look: Look) -> tuple[Any, int]:
    """The figure, and how many budget labels found no place in it."""
    marks = {name: mark(i) for i, name in enumerate(dict.fromkeys(s.name for p in panels for s in p.series))}
    across = min(look.columns, len(panels))
    cell = look.inches / across
    small = look.size - 0.5
    figure = blank(look.inches, 1)
    texts = [{name: wrapped(figure, name, small, 0.36 * cell) for name in _names(p)} for p in panels]
    sizes = [{name: text_size(figure, text, small) for name, text in own.items()} for own in texts]
    aside = max((w for own in sizes for w, _ in own.values()), default=0.0) + 0.2
    line = text_size(figure, "Ag", look.size)[1]
    left, below, above = 3.6 * line + 0.12, 2.6 * line + 0.12, (1.5 * line if len(panels) > 1 else 0.06)
    needed = max((sum(h + 0.025 for _, h in own.values()) for own in sizes), default=0.0)
    tall = max(look.height or PANEL_HEIGHT, needed)
    down = -(-len(panels) // across)
    head = 1.6 * line if look.title else 0.0
    height = head + down * (above + tall + below)
    figure.set_size_inches(look.inches, height)
    if look.title:
        figure.text(0.5, 1 - 0.8 * line / height, look.title, ha="center", va="center", fontsize=look.size)
    lost = 0
    for number, panel in enumerate(panels):
        row, column = divmod(number, across)
        x0 = column * cell + left
        y0 = height - head - (row + 1) * (above + tall + below) + below
        wide = cell - left - aside
        axes = figure.add_axes((x0 / look.inches, y0 / height, wide / look.inches, tall / height))
        _draw(axes, panel, marks, look)
        if len(panels) > 1:
            axes.set_title(panel.title, pad=3, loc="left")
        axes.set_xlabel(cost.label, labelpad=2)
        if column == 0:
            axes.set_ylabel(MEASURES[measure], labelpad=2)
        _limits(axes, panel, look)
        if look.labels:
            lost += _budgets(figure, axes, panel, marks, small - 1)
        _names_beside(figure, axes, panel, texts[number], sizes[number], marks, small)
    return figure, lost


def _names(panel: Panel) -> list[str]:
    return [*(["full"] if panel.full else []), *(s.name for s in panel.series)]


def _draw(axes: Any, panel: Panel, marks: dict[str, Any], look: Look) -> None:
    axes.grid(color="#dddddd")
    axes.set_axisbelow(True)
    form = look.intervals
    if form == "auto":
        form = "band" if len(panel.series) <= BANDS_UP_TO else "bars"
    if panel.full:
        axes.axhline(panel.full.y, color=FULL, linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)
        axes.plot([panel.full.x], [panel.full.y], color=FULL, marker="*", markersize=6, zorder=5)
        if form != "none":
            _interval(axes, [panel.full], FULL, "bars")
    for series in panel.series:
        style = marks[series.name]
        axes.plot(
            [p.x for p in series.points],
            [p.y for p in series.points],
            linewidth=1.0,
            markersize=3.2,
            markeredgewidth=0.6,
            markerfacecolor=style["color"] if series.ranked else "white",
            zorder=4,
            **style,
        )
        if form != "none":
            _interval(axes, series.points, style["color"], form)


def _interval(axes: Any, points: Sequence[Point], colour: str, form: str) -> None:
    held = [p for p in points if p.low is not None and p.high is not None]
    if form == "band" and len(held) > 1:
        lows, highs = [p.low for p in held], [p.high for p in held]
        axes.fill_between([p.x for p in held], lows, highs, color=colour, alpha=0.13, linewidth=0, zorder=2)
        return
    for p in held:
        axes.plot([p.x, p.x], [p.low, p.high], color=colour, linewidth=0.6, alpha=0.7, zorder=3, solid_capstyle="butt")


def _limits(axes: Any, panel: Panel, look: Look) -> None:
    points = [p for s in panel.series for p in s.points] + ([panel.full] if panel.full else [])
    xs = [p.x for p in points]
    ys = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    if look.intervals == "none":
        ys = [p.y for p in points]
    room = 0.06 * max(max(ys) - min(ys), 5.0)
    axes.set_ylim(max(min(ys) - room, -2.0), max(ys) + room)
    if look.log and min(xs) > 0:
        axes.set_xscale("log")
        axes.set_xlim(min(xs) / 1.15, max(xs) * 1.15)
        from matplotlib.ticker import LogFormatter, NullFormatter

        wide = max(xs) / min(xs) > 30
        axes.xaxis.set_major_formatter(LogFormatter(labelOnlyBase=wide))
        axes.xaxis.set_minor_formatter(NullFormatter() if wide else LogFormatter(minor_thresholds=(2, 0.5)))
        return
    spread = max(xs) - min(xs)
    low = 0.0 if min(xs) < 0.6 * max(xs) else min(xs) - (0.12 * spread or 0.05 * abs(max(xs)) or 1.0)
    axes.set_xlim(low, max(xs) + 0.04 * ((max(xs) - low) or 1.0))


def _budgets(figure: Any, axes: Any, panel: Panel, marks: dict[str, Any], size: float) -> int:
    """Write the budget beside every point where nothing else stands; returns how many found no place."""
    from matplotlib.transforms import Bbox

    per_inch = figure.dpi
    renderer = figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    everything = [p for s in panel.series for p in s.points] + ([panel.full] if panel.full else [])
    taken = []
    for p in everything:
        x, y = axes.transData.transform((p.x, p.y))
        r = 0.028 * per_inch
        taken.append(Bbox.from_extents(x - r, y - r, x + r, y + r))
    gap, lost = 0.035, 0
    places = (
        (0, gap, "center", "bottom"), (0, -gap, "center", "top"), (-gap, gap / 2, "right", "bottom"),
        (gap, -gap / 2, "left", "top"), (gap, gap / 2, "left", "bottom"), (-gap, -gap / 2, "right", "top"),
    )  # fmt: skip
    for series in panel.series:
        for p in series.points:
            if not p.text:
                continue
            x, y = axes.transData.transform((p.x, p.y))
            for dx, dy, across, along in places:
                at = axes.transData.inverted().transform((x + dx * per_inch, y + dy * per_inch))
                text = axes.text(
                    *at,
                    p.text,
                    fontsize=size,
                    ha=across,
                    va=along,
                    color=marks[series.name]["color"],
                    zorder=6,
                    bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.2},
                )
                box = text.get_window_extent(renderer)
                inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 + 2 and box.y0 >= frame.y0 and box.y1 <= frame.y1
                if inside and not any(box.overlaps(other) for other in taken):
                    taken.append(box)
                    break
                text.remove()
            else:
                lost += 1
    return lost


def _names_beside(
    figure: Any,
    axes: Any,
    panel: Panel,
    texts: dict[str, str],
    sizes: dict[str, tuple[float, float]],
    marks: dict[str, Any],
    size: float,
) -> None:
    """Names of the curves right of the axes, each at the height of its curve's end or as near as others let it."""
    frame = axes.get_window_extent(figure.canvas.get_renderer())
    names = _names(panel)
    ends = {s.name: s.points[-1] for s in panel.series}
    points = {n: ends.get(n, panel.full) for n in names}
    heights = [(sizes[n][1] + 0.025) * figure.dpi for n in names]
    wanted = [axes.transData.transform((points[n].x, points[n].y))[1] for n in names]  # type: ignore[union-attr]
    room = max(0.0, sum(heights) - frame.height) / 2
    for name, y in zip(names, apart(wanted, heights, frame.y0 - room, frame.y1 + room), strict=True):
        point = points[name]
        assert point is not None
        style = marks.get(name, {"color": FULL, "marker": "*"})
        hollow = any(s.name == name and not s.ranked for s in panel.series)
        x_end, y_end = axes.transData.transform((point.x, point.y))
        start = frame.x1 + 0.02 * figure.dpi if name == "full" else x_end
        to = figure.transFigure.inverted().transform
        key = frame.x1 + 0.09 * figure.dpi
        (x0, y0), (x1, y1) = to((start, y_end)), to((key, y))
        figure.add_artist(_line([x0, x1], [y0, y1], color=style["color"], linewidth=0.35, alpha=0.55))
        figure.add_artist(
            _line(
                [x1],
                [y1],
                color=style["color"],
                marker=style["marker"],
                markersize=3.6 if name != "full" else 5,
                markerfacecolor="white" if hollow else style["color"],
                markeredgewidth=0.6,
                linestyle="",
            )
        )
        at = to((key + 0.06 * figure.dpi, y))
        figure.text(*at, texts[name], fontsize=size, ha="left", va="center", color=style["color"], linespacing=1.0)


def _line(x: Sequence[float], y: Sequence[float], **style: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(x, y, figure=None, **style)
