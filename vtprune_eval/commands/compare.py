"""``python -m vtprune_eval compare RUN_A RUN_B``: two runs, paired by sample."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..console import Parser

if TYPE_CHECKING:
    from ..report.versus import PairLine

HEADS = ("task", "A", "B", "samples", "A %", "B %", "A - B [95 %]", "only A", "only B", "test", "p", "p (Holm)")
HEADS_END = ("finding", "same answer", "FLOPs A/B", "time A/B")
SAYS = (
    "Points and counts are of A minus B on the same samples; only A: samples that A answers better. p values are of "
    "McNemar's exact test, or of a sign-flip test over episodes; Holm's adjustment runs over all lines but the means. "
    "A difference is called one where the adjusted p is below 0.05."
)


def main(argv: Sequence[str]) -> int:
    """Compare two runs; returns the exit code.

    Raises:
        UserError: runs that cannot be read, or whose samples cannot be paired.
    """
    p = Parser(
        "compare",
        description="Two runs, sample by sample: paired differences, McNemar's test, and what differs in the runs.",
    )
    p.add_argument("runs", nargs=2, metavar="RUN", help="run folders or result files, A then B")
    p.add_argument(
        "--a", action="append", metavar="METHOD@BUDGET", help="a row of A (default: every row that B has, too)"
    )
    p.add_argument(
        "--b", action="append", metavar="METHOD@BUDGET", help="the row of B that it is held against (default: the same)"
    )
    p.add_argument("--format", choices=("table", "md", "csv", "json", "latex"), default="table")
    p.add_argument("--wide", action="store_true", help="tables in one piece, however wide the terminal is")
    given = p.parse_args(list(argv))
    from ..report.versus import held_against

    first, second = given.runs
    changes, lines = held_against(first, second, given.a, given.b)
    if given.format == "json":
        found = {"differing": [dict(zip(("name", "a", "b"), c, strict=True)) for c in changes], "pairs": lines}
        print(json.dumps(found, indent=2, allow_nan=False))
    elif given.format == "latex":
        from ..report.latex import latex_pairs

        print(latex_pairs(lines), end="")
    elif given.format == "csv":
        for name, one, other in changes:
            print(f"note: {name}: {one} in A, {other} in B", file=sys.stderr)
        print(_csv(lines), end="")
    else:
        print(_text(given.runs, changes, lines, given.format == "md", given.wide))
    return 0


def _text(
    runs: Sequence[str], changes: Sequence[tuple[str, str, str]], lines: Sequence[PairLine], md: bool, wide: bool
) -> str:
    from tabulate import tabulate

    from ..results.folding import folded
    from ..runner.report import terminal_width

    form = "github" if md else "simple"
    parts = [f"A: {runs[0]}", f"B: {runs[1]}", ""]
    if md:
        parts.insert(1, "")
    if changes:
        table = [[name, _short(one), _short(other)] for name, one, other in changes]
        parts += ["What differs in the runs:", "", _tabulate(tabulate, table, ("setting", "A", "B"), form), ""]
    else:
        parts += ["Nothing differs in their settings and machines.", ""]
    heads = [*HEADS, *HEADS_END]
    rows = [_cells(line) for line in lines]
    same = all(line["a"] == line["b"] for line in lines)
    if same:  # one column says it
        heads = ["task", "row", *heads[3:]]
        rows = [[row[0], row[1], *row[3:]] for row in rows]
    width = None if md else terminal_width(wide)
    if width is None:
        parts.append(_tabulate(tabulate, rows, heads, form))
    else:
        parts += folded(heads, rows, width)
    return "\n".join([*parts, "", SAYS])


def _tabulate(tabulate: Any, rows: Any, heads: Any, form: str) -> str:
    return str(tabulate(rows, headers=heads, tablefmt=form, disable_numparse=True))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _cells(line: PairLine) -> list[str]:
    from ..results.stats import shown

    cells = [line["task"], line["a"], line["b"], str(line["n"])]
    if "difference" in line:
        cells += [f"{100 * line['accuracy_a']:.1f}", f"{100 * line['accuracy_b']:.1f}"]
        cells += [f"{100 * line['difference']:+.1f} {shown(line['ci95'], '+.1f')}"]
        cells += [str(line["only_own"]), str(line["only_other"])]
    else:
        cells += ["-"] * 5
    if "p" in line:
        cells += [line["test"], f"{line['p']:.2g}", f"{line['p_holm']:.2g}", line["verdict"]]
    else:
        cells += ["-"] * 4
    cells.append(f"{line['same_answer']} of {line['n']}")
    flops, time = line.get("flops_ratio"), line.get("time_ratio")
    cells.append("-" if flops is None else f"{flops:.3f}")
    interval = line.get("time_ratio_ci95")
    ends = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return [*cells, "-" if time is None else f"{time:.2f}{ends}"]


_CSV = (
    *("task", "a", "b", "n", "accuracy_a", "accuracy_b", "difference", "difference_low", "difference_high"),
    *("only_a", "only_b", "test", "p", "p_holm", "finding", "same_answer", "flops_ratio"),
    *("time_ratio", "time_ratio_low", "time_ratio_high"),
)


def _csv(lines: Sequence[PairLine]) -> str:
    from ..report.spreadsheet import csv_text

    rows = []
    for line in lines:
        low, high = line.get("ci95") or (None, None)
        fast, slow = line.get("time_ratio_ci95") or (None, None)
        values = {
            **line,
            **{"difference_low": low, "difference_high": high, "time_ratio_low": fast, "time_ratio_high": slow},
            **{"only_a": line.get("only_own"), "only_b": line.get("only_other"), "finding": line.get("verdict")},
        }
        rows.append([values.get(k) for k in _CSV])
    return csv_text(_CSV, rows)
