"""``python -m vtprune_eval export RUN ...``: rows of runs as LaTeX, CSV or Parquet."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..console import Parser
from ..errors import UserError
from ..results.store import write_atomic

ENDINGS = {".tex": "latex", ".csv": "csv", ".parquet": "parquet"}


def parser() -> Parser:
    """Options of the command."""
    from ..report.latex import CHOICES, DEFAULT

    p = Parser(
        "export",
        description="Rows of runs as a table: numbers in numeric columns, intervals in their own. Shares are in 0 to "
        "1, times in ms, sizes in bytes; LaTeX has percentages.",
    )
    p.add_argument("runs", nargs="+", metavar="RUN", help="run folders or result files; several make one table")
    form = p.add_mutually_exclusive_group()
    for name, says in (
        ("latex", "a tabular with booktabs, one line per row"),
        ("csv", "one line per row and task"),
        ("parquet", "the same with types (needs the extra frames)"),
    ):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=says)
    p.add_argument("--tasks", "--task", metavar="T,...", help="names, mean, all (default: all, and their mean)")
    p.add_argument("--methods", "--method", metavar="M,...", help="with or without their settings")
    p.add_argument("--budgets", "--budget", metavar="B,...", help="as asked for in the runs")
    p.add_argument(
        "--columns",
        metavar="C,...",
        help=f"of LaTeX, beside the accuracies: {', '.join(CHOICES)}, or none (default {','.join(DEFAULT)})",
    )
    p.add_argument("--no-intervals", dest="intervals", action="store_false", help="LaTeX without intervals")
    p.add_argument("--standalone", action="store_true", help="LaTeX: a document that compiles by itself")
    p.add_argument("--out", metavar="FILE", help="default: stdout; .tex, .csv or .parquet says the format, too")
    return p


def main(argv: Sequence[str]) -> int:
    """Write one table; returns the exit code.

    Raises:
        UserError: what cannot be exported, and why.
    """
    given = parser().parse_args(list(argv))
    form = given.form or ENDINGS.get(Path(given.out).suffix.lower() if given.out else "")
    if form is None:
        raise UserError("say --latex, --csv or --parquet, or give --out a name that ends in .tex, .csv or .parquet.")
    if form != "latex" and (given.columns is not None or given.standalone or not given.intervals):
        raise UserError("--columns, --no-intervals and --standalone belong to --latex.")
    if form == "parquet" and not given.out:
        raise UserError("--parquet needs --out FILE.")
    from ..report.gathered import MEAN, chosen, gather, tasks_of
    from ..report.tidy import lines_of

    data = gather(given.runs)
    rows = chosen(data, given.methods, given.budgets)
    tasks = tasks_of(data, given.tasks, (*data.tasks, MEAN) if len(data.tasks) > 1 else data.tasks)
    lines = lines_of(data, rows, tasks)
    if not lines:
        raise UserError("a mean over tasks needs the same tasks in every run; name one with --tasks.")
    for note in data.notes:
        print(f"note: {note}", file=sys.stderr)
    if form == "parquet":
        _write(given.out, _parquet(lines))
        return 0
    if form == "csv":
        text = as_csv(lines)
    else:
        from ..report.latex import DEFAULT, latex

        columns = DEFAULT if given.columns is None else [c for c in _names(given.columns) if c != "none"]
        runs = ", ".join(dict.fromkeys(s.identity for s in data.sources))
        about = f"{data.sources[0].settings['model']}, run {runs}; accuracy in %, 95 % intervals in brackets"
        text = latex(lines, columns, given.intervals, given.standalone, about)
    if given.out:
        _write(given.out, text)
    else:
        sys.stdout.write(text)
    return 0


def _names(text: str) -> list[str]:
    return [n.strip() for n in text.split(",") if n.strip()]


def as_csv(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as CSV."""
    from ..report.spreadsheet import csv_text
    from ..report.tidy import COLUMNS

    return csv_text(list(COLUMNS), ([line[c] for c in COLUMNS] for line in lines))


def _parquet(lines: Sequence[dict[str, Any]]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("--parquet needs pyarrow: pip install 'vtprune_eval[frames]'.") from None
    from ..report.tidy import COLUMNS

    kinds = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}
    columns = {c: pyarrow.array([line[c] for line in lines], kinds[kind]) for c, kind in COLUMNS.items()}
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def _write(name: str, content: str | bytes) -> None:
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another file with --out.") from None
    print(f"table: {path}", file=sys.stderr)
