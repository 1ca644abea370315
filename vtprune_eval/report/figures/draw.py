"""From runs to the files of a figure: what the command ``plot`` and ``Result.plot`` do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError, unknown_name
from ...results.stats import MIN_CLUSTERS
from ..gathered import MEAN, Gathered, Row, chosen, gather, has_tasks, tasks_in, tasks_of
from ..measures import MEASURES, cost_named
from .style import FORMATS, INTERVALS, Look, look_of, need_matplotlib, write

KINDS = ("curves", "stages")
# More curves in one pair of axes cannot be told apart; the figure says so and is drawn.
MANY = 12


@dataclass(frozen=True)
class Drawn:
    """Files of one figure, a caption that says what it shows, and what a reader must know beside it."""

    files: tuple[Path, ...]
    caption: str
    notes: tuple[str, ...]


def draw(
    paths: Sequence[str | Path],
    kind: str = "curves",
    *,
    tasks: str | None = None,
    methods: str | None = None,
    budgets: str | None = None,
    y: str = "accuracy",
    x: str = "flops",
    out: str | Path | None = None,
    formats: Sequence[str] = FORMATS,
    look: Look | None = None,
) -> Drawn:
    """Draw one figure.

    Args:
        paths: run folders or result files.
        kind: ``curves`` or ``stages``.
        tasks: names, ``mean`` or ``all``, separated by commas: one panel each; None: the mean, or the only task.
        methods: names, budgets: as asked for, separated by commas; None for all.
        y: of :data:`..measures.MEASURES`.
        x: of :data:`..measures.COSTS`; both for curves.
        out: a file (its ending is the format) or a folder; None: ``plots`` in the first run folder.
        formats: ``pdf``, ``svg``, ``png``.
        look: size, font, intervals.

    Raises:
        UserError: anything that cannot be drawn, and why.
    """
    need_matplotlib()
    look = look or Look()
    for name, value, known in (
        ("--kind", kind, KINDS),
        ("--y", y, tuple(MEASURES)),
        ("--intervals", look.intervals, INTERVALS),
    ):
        if value not in known:
            raise unknown_name(f"value of {name}", value, known)
    data = gather(paths)
    rows = chosen(data, methods, budgets)
    names = tasks_of(data, tasks, (MEAN,) if len(data.tasks) > 1 else data.tasks)
    stem = "-".join(("stages",) if kind == "stages" else (y, x)) + f"-{'-'.join(names)}"
    place, wanted = _place(out, Path(paths[0]), re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:150], formats)
    with look_of(look):
        if kind == "stages":
            figure, caption, notes = _stages(data, rows, names, look)
        else:
            figure, caption, notes = _curves(data, rows, names, y, x, look)
        files = write(figure, place, wanted)
    return Drawn(tuple(files), caption, (*data.notes, *notes))


def _curves(
    data: Gathered, rows: Sequence[Row], names: Sequence[str], y: str, x: str, look: Look
) -> tuple[Any, str, list[str]]:
    from .curves import figure_of, panel_of

    cost = cost_named(x)
    if cost.machine:
        data.same_machine(f"the {x} values")
    if y != "recall" and not data.trained:
        raise UserError("random weights have no accuracy; draw --y recall, or --kind stages.")
    panels = [panel_of(data, rows, _title(data, n), tasks_in(data, n), y, cost) for n in names]
    empty = [p for p in panels if not p.series]
    if empty:
        raise UserError(_why_empty(data, empty[0].title, y, x))
    figure, lost = figure_of(panels, y, cost, look)
    notes = []
    for panel in panels:
        if panel.missing:
            shown = ", ".join(panel.missing[:4]) + (
                f" and {len(panel.missing) - 4} more" if len(panel.missing) > 4 else ""
            )
            notes.append(f"{panel.title}: not drawn, for want of such values: {shown}.")
        if len(panel.series) > MANY:
            notes.append(f"{panel.title}: {len(panel.series)} curves in one panel; choose some with --methods.")
    if lost:
        notes.append(f"{lost} budget labels find no place beside their points and are left out.")
    held = any(p.low is not None for panel in panels for s in panel.series for p in s.points)
    intervals = (
        ""
        if look.intervals == "none"
        else ("; 95 % intervals" if held else f"; fewer than {MIN_CLUSTERS} clusters, so no intervals")
    )
    full = "; dashed: the full model" if any(p.full for p in panels) else ""
    about = f"{MEASURES[y].split(' (')[0].capitalize()} against {cost.label}, {_about(data, names)}{intervals}{full}."
    return figure, about, notes


def _stages(data: Gathered, rows: Sequence[Row], names: Sequence[str], look: Look) -> tuple[Any, str, list[str]]:
    from .stages import CAPTION, figure_of

    data.same_machine("the times")
    if len(names) > 1:
        raise UserError("--kind stages draws one task, or the mean over all; name one with --tasks.")
    tasks = tasks_in(data, names[0])
    rows = [r for r in rows if has_tasks(r, tasks)]
    if not rows:
        raise UserError(f"no row has answers on {', '.join(tasks)}.")
    figure = figure_of(rows, tasks, look)
    from ..measures import stage_times

    counts = sorted({len(stage_times(r, tasks)) for r in rows} - {0})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    caption = f"Stage times, {_about(data, names)}, {n} timed samples per row, {data.sources[0].machine}; {CAPTION}."
    untimed = [r.name for r in rows if not stage_times(r, tasks)]
    return figure, caption, [f"not drawn, because no sample was timed: {', '.join(untimed)}."] if untimed else []


def _title(data: Gathered, name: str) -> str:
    return f"mean of {len(data.tasks)} tasks" if name == MEAN else name


def _about(data: Gathered, names: Sequence[str]) -> str:
    """Model, tasks and samples in words."""
    sizes = {t: len(next(r.records[t] for r in data.rows if t in r.records)) for t in data.tasks}
    shown = dict.fromkeys(t for n in names for t in tasks_in(data, n))
    listed = ", ".join(f"{t}: {sizes[t]} samples" for t in shown)
    mean = f"mean over {len(data.tasks)} tasks, " if MEAN in names and len(data.tasks) > 1 else ""
    return f"{data.sources[0].settings['model']}, {mean}{listed}"


def _why_empty(data: Gathered, title: str, y: str, x: str) -> str:
    if MEAN in title.split() and any(not has_tasks(r, data.tasks) for r in data.rows):
        return "a mean over tasks needs the same tasks in every run; name one with --tasks."
    if y == "recall":
        return f"{title}: no sample has a target box, or no row a value of {x}; choose another --y or --x."
    return f"{title}: no row has both {y} and {x}; choose another --y or --x (peak, ttft, e2e: run with --timings)."


def _place(out: str | Path | None, run: Path, stem: str, formats: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Path without its ending, and the formats to write."""
    for form in formats:
        if form not in FORMATS:
            raise unknown_name("format", form, FORMATS)
    if not formats:
        raise UserError(f"--formats names none; choose of {', '.join(FORMATS)}.")
    if out is not None and Path(out).suffix and not Path(out).is_dir():
        form = Path(out).suffix[1:].lower()
        if form not in FORMATS:
            raise UserError(f"--out {out}: a figure is written as {', '.join(FORMATS)}; give one of these endings.")
        place, formats = Path(out).with_suffix(""), (form,)
    else:
        folder = Path(out) if out is not None else run / "plots" if run.is_dir() else Path("plots")
        place = folder / stem
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{place.parent} cannot be made ({error.strerror}); name another place with --out.") from None
    return place, tuple(dict.fromkeys(formats))
