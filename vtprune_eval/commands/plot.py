"""``python -m vtprune_eval plot RUN ...``: figures of one or several runs, ready for a paper."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..console import Parser
from ..errors import UserError


def parser() -> Parser:
    """Options of the command."""
    from ..report.figures.style import FORMATS, INTERVALS, Look
    from ..report.measures import COSTS, MEASURES

    p = Parser(
        "plot",
        description="Figures of runs: accuracy against a cost, or stage times. Prints the files and a caption.",
    )
    p.add_argument("runs", nargs="+", metavar="RUN", help="run folders or result files; several stand in one figure")
    p.add_argument("--kind", default="curves", help="curves (default) or stages: stage times, stacked")
    p.add_argument(
        "--tasks", "--task", metavar="T,...", help="one panel each: names, mean, all (default: the mean over the tasks)"
    )
    p.add_argument(
        "--methods", "--method", metavar="M,...", help="with or without their settings; full always stands there"
    )
    p.add_argument("--budgets", "--budget", metavar="B,...", help="as asked for in the runs (default: all)")
    p.add_argument("--y", default="accuracy", help=f"{', '.join(MEASURES)} (default accuracy)")
    p.add_argument("--x", default="flops", help=f"the cost: {', '.join(COSTS)} (default flops)")
    p.add_argument("--log", action="store_true", help="logarithmic axis of the cost")
    p.add_argument("--intervals", default="auto", help=f"{', '.join(INTERVALS)} (default auto)")
    p.add_argument("--no-budget-labels", dest="labels", action="store_false", help="points without their budgets")
    p.add_argument("--columns", type=int, choices=(1, 2), default=1, help="width of one or two columns of a page")
    p.add_argument("--width", type=float, help="inches, instead of --columns")
    p.add_argument("--height", type=float, help="inches of one panel (default: what its names need)")
    p.add_argument("--font", choices=("sans", "serif"), default="sans")
    p.add_argument("--font-size", type=float, default=Look.size, help=f"points (default {Look.size})")
    p.add_argument("--title", default="", help="above the figure (default none: a caption says it)")
    p.add_argument("--formats", "--format", default=",".join(FORMATS), help="pdf,svg,png (default all three)")
    p.add_argument("--out", help="a file with one of these endings, or a folder (default: plots in the first run)")
    return p


def main(argv: Sequence[str]) -> int:
    """Draw one figure; returns the exit code.

    Raises:
        UserError: what cannot be drawn, and why.
    """
    given = parser().parse_args(list(argv))
    from ..report.figures.draw import draw
    from ..report.figures.style import Look

    for name, value, low, high in (
        ("--width", given.width, 1.5, 60.0),
        ("--height", given.height, 0.5, 60.0),
        ("--font-size", given.font_size, 4.0, 40.0),
    ):
        if value is not None and not low <= value <= high:
            raise UserError(f"{name} {value:g} is outside [{low:g}, {high:g}].")
    look = Look(
        given.columns,
        given.width,
        given.height,
        given.font,
        given.font_size,
        given.intervals,
        given.labels,
        given.log,
        given.title,
    )
    drawn = draw(
        given.runs,
        given.kind,
        tasks=given.tasks,
        methods=given.methods,
        budgets=given.budgets,
        y=given.y,
        x=given.x,
        out=given.out,
        formats=[f.strip().lower() for f in given.formats.split(",") if f.strip()],
        look=look,
    )
    for path in drawn.files:
        print(f"plot:    {path}")
    print(f"caption: {drawn.caption}")
    for note in drawn.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
