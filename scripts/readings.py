"""What the reading of a budget changes: the methods that prune inside the decoder, on nano, in both readings.

``python scripts/readings.py --out DIR``: two runs (resumed where they stopped), then ``docs/readings.md``: for every
method what the number spent and the accuracy, and the pairs whose order differs between the readings. In the
reading ``paper`` FastV, DART and the random control count from their first pruned layer on, so that the same number
spends more than SparseVLM's mean over the layers; SparseVLM and PyramidDrop keep the mean in both, as the versions
before there were readings had it.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tabulate import tabulate

from vtprune_eval import run
from vtprune_eval.results.compare import adjust, compare
from vtprune_eval.runner.folder import read_run

FROM_THE_CUT_ON = ("dart", "fastv", "random-layer")
OVER_ALL_LAYERS = ("pyramiddrop", "sparsevlm")
TASKS = ("mini-grounding", "mini-doc")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "readings.md"
HEAD = """# What one reading of a budget changes

Made by `python scripts/readings.py --out DIR --budgets {budgets} --limit {limit}`: the methods that prune inside the
decoder, on nano. "before" is each number as it was read until there were readings: FastV, DART and the random control
count from their first pruned layer on, SparseVLM and PyramidDrop as a mean over all layers. "after" is the reading
`equal` ([budgets](budgets.md)): the mean over all layers for every method. Accuracies in %, one seed; p values of the
pairs are Holm-adjusted over all pairs of a reading. PyramidDrop cannot go below 20.3 % on nano, FastV not below 40.1 %:
smaller numbers are refused, and were run as another setting before.
"""
Cells = dict[tuple[str, str], list[dict[str, Any]]]  # by (task, method)


def measured(out: Path, methods: tuple[str, ...], reading: str, budget: str, limit: int) -> Cells:
    """Records of one run, by task and method."""
    asked = {"reading": reading, "limit": limit, "timings": 0, "out": str(out / f"{reading}-{budget}")}
    done = read_run(Path(run(model="nano", methods=methods, budgets=[budget], tasks=TASKS, **asked).folder))
    return {(task, method): list(own.values()) for (task, method, _), own in done.records.items()}


def lines(before: Cells, after: Cells) -> list[list[str]]:
    """One line per method: what was spent and the accuracy per task, before and after."""
    out = []
    for method in sorted({m for _, m in after}):
        spent = [
            sum(r["spent"]["achieved_pct"] for r in c[TASKS[0], method]) / len(c[TASKS[0], method])
            for c in (before, after)
        ]
        row = [method, *(f"{s:.1f}" for s in spent)]
        for task in TASKS:
            row += [f"{100 * accuracy(c[task, method]):.1f}" for c in (before, after)]
        out.append(row)
    return out


def accuracy(records: list[dict[str, Any]]) -> float:
    """Mean score."""
    return sum(r["score"] for r in records) / len(records)


def changed(before: Cells, after: Cells) -> list[list[str]]:
    """Pairs of methods whose order by accuracy differs, with the paired tests (Holm over all pairs of a reading)."""
    methods = sorted({m for _, m in after})
    pairs = [(task, a, b) for task in TASKS for a, b in combinations(methods, 2)]
    found: list[dict[tuple[str, str, str], dict[str, Any]]] = []
    for cells in (before, after):
        each = {(t, a, b): compare(cells[t, a], cells[t, b]) for t, a, b in pairs}
        known = {k: v for k, v in each.items() if v is not None}
        adjust(list(known.values()))
        found.append(known)
    out = []
    for pair in pairs:
        old, new = (f[pair] for f in found)
        turned = old["difference"] * new["difference"]
        if turned < 0 or (turned == 0 and old["verdict"] != new["verdict"]):
            task, a, b = pair
            out.append([task, f"{a} - {b}", *(f"{100 * c['difference']:+.1f} ({c['verdict']})" for c in (old, new))])
    return out


def main() -> None:
    """Run, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budgets", default="50,70")
    parser.add_argument("--limit", type=int, default=40)
    given = parser.parse_args()
    parts = [HEAD.format(budgets=given.budgets, limit=given.limit)]
    for budget in given.budgets.split(","):
        after = measured(given.out, FROM_THE_CUT_ON + OVER_ALL_LAYERS, "equal", budget, given.limit)
        before = measured(given.out, FROM_THE_CUT_ON, "paper", budget, given.limit)
        before |= {k: v for k, v in after.items() if k not in before}
        heads = ["method", "spent % before", "after", *(f"{t} {when}" for t in TASKS for when in ("before", "after"))]
        parts.append(f"## At {budget} %, {given.limit} samples per task\n")
        parts.append(tabulate(lines(before, after), headers=heads, tablefmt="github", disable_numparse=True))
        turned = changed(before, after)
        named = tabulate(turned, headers=["task", "pair", "before", "after"], tablefmt="github")
        parts.append(f"\nPairs whose order changes:\n\n{named}\n" if turned else "\nNo pair changes its order.\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
