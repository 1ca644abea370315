"""What stands in for POSPAD's marker where none was trained: ``python scripts/markers.py --out DIR [--page FILE]``.

FocusUI leaves one marker per dropped run, an embedding that its training learns. A model without it needs a stand-in.
Four runs of ``focusui`` (resumed where they stopped), which differ in the marker alone: none (direct removal), the pad
token's embedding, the mean of the dropped run, zeros. Markers are charged: all rows spend the same tokens. Then
Markdown, to standard output or into a page of the documentation. A model whose marker is trained gets the same page
with ``--model``; its row ``token`` is the trained one then, which its records say.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tabulate import tabulate

from vtprune_eval import run
from vtprune_eval.notes import Note
from vtprune_eval.results.compare import adjust, compare
from vtprune_eval.runner.folder import read_run

TASKS = ("mini-grounding", "mini-doc", "mini-nav")
VARIANTS = {
    "none": {"focusui.pad": "none"},
    "token": {"focusui.marker": "token"},
    "mean": {"focusui.marker": "mean"},
    "zero": {"focusui.marker": "zero"},
}
PAIRS = (("token", "none"), ("mean", "none"), ("zero", "none"), ("mean", "token"), ("mean", "zero"))
SAYS = {
    True: "not trained with any: what stands in its place is untrained, and every record, table and page says so",
    False: "trained with it, and the stand-ins are shown beside it",
}
Records = list[dict[str, Any]]
Cells = dict[tuple[str, str, str], Records]  # by (variant, task, budget)


def measured(given: argparse.Namespace) -> Cells:
    """Records of all runs; the full model's under the variant ``full``."""
    out: Cells = {}
    for variant, params in VARIANTS.items():
        methods = ("full", "focusui") if variant == "none" else ("focusui",)
        budgets = given.budgets.split(",")
        done = run(
            model=given.model,
            methods=methods,
            budgets=budgets,
            tasks=TASKS,
            params=params,
            limit=given.limit,
            timings=0,
            out=str(given.out / variant),
            no_full=variant != "none",
        )
        for (task, method, budget), own in read_run(Path(done.folder)).records.items():
            out["full" if method == "full" else variant, task, budget] = list(own.values())
    return out


def accuracy(own: Records) -> str:
    """Mean score in percent, a failed sample as 0."""
    return f"{100 * sum(r['score'] or 0.0 for r in own) / len(own):.1f}"


def name_of(variant: str, cells: Cells) -> str:
    """The row's name: which stand-in, or that the marker is trained."""
    if variant in ("none", "full"):
        return {"none": "no marker (direct removal)", "full": "full"}[variant]
    codes = {Note.read(n).code for (v, _, _), own in cells.items() if v == variant for r in own for n in r["notes"]}
    return f"{variant} ({'untrained marker' if 'untrained_marker' in codes else 'trained marker'})"


def table(cells: Cells) -> str:
    """Accuracy per variant, task and budget."""
    budgets = sorted({b for v, _, b in cells if v != "full"}, key=float)
    heads = ["marker", *(f"{task} at {b}" for task in TASKS for b in budgets)]
    full = {t: own for (v, t, _), own in cells.items() if v == "full"}
    rows = [[name_of("full", cells), *(accuracy(full[t]) for t in TASKS for _ in budgets)]]
    rows += [[name_of(v, cells), *(accuracy(cells[v, t, b]) for t in TASKS for b in budgets)] for v in VARIANTS]
    return tabulate(rows, headers=heads, tablefmt="github", disable_numparse=True)


def pooled(cells: Cells, variant: str, tasks: tuple[str, ...]) -> Records:
    """Records of a variant over budgets; one screen or episode is one cluster, whatever the budget."""
    return [
        {**r, "id": f"{t}/{b}/{r['id']}", "cluster": f"{t}/{r['cluster'] or r['id']}"}
        for (v, t, b), own in cells.items()
        if v == variant and t in tasks
        for r in own
    ]


def chance(p: float) -> str:
    """A p value with three decimals."""
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def tests(cells: Cells) -> str:
    """Paired tests per task and over all, Holm over all of them."""
    found = []
    for tasks in (*((t,) for t in TASKS), TASKS):
        for a, b in PAIRS:
            entry = compare(pooled(cells, a, tasks), pooled(cells, b, tasks))
            if entry is not None:
                found.append({"where": tasks[0] if len(tasks) == 1 else "all three", "pair": f"{a} - {b}", **entry})
    adjust(found)
    rows = [
        [
            e["where"],
            e["pair"],
            e["n"],
            f"{100 * e['difference']:+.1f}",
            "-" if e["ci95"] is None else "{:+.1f} to {:+.1f}".format(*(100 * x for x in e["ci95"])),
            f"{e['only_own']} / {e['only_other']}",
            chance(e["p"]),
            chance(e["p_holm"]),
            e["verdict"],
        ]
        for e in found
    ]
    heads = ["task", "pair", "n", "points", "95 % interval", "better / worse", "p", "p (Holm)", "verdict"]
    return tabulate(rows, headers=heads, tablefmt="github", disable_numparse=True)


def page(cells: Cells, given: argparse.Namespace) -> str:
    """The page."""
    untrained = "untrained" in name_of("token", cells)
    paragraph = (
        f"FocusUI leaves one marker per run of dropped tokens, whose embedding its training learns. `{given.model}` "
        f"was {SAYS[untrained]}. All rows keep tokens by the same scores; a marker counts as a visual token (reading "
        f"`equal`), so that direct removal keeps more real ones. One seed, greedy, {given.limit} samples per task, the "
        "same for all rows."
    )
    return f"""# The marker of POSPAD

Made by `python scripts/markers.py --out DIR --page FILE --limit {given.limit} --budgets {given.budgets}`; do not edit.

{textwrap.fill(paragraph, 120)}

## Accuracy

{table(cells)}

## Paired comparisons

Both budgets together; a screen or an episode is one cluster (sign-flip test, paired bootstrap over clusters), Holm over
all lines.

{tests(cells)}

A model with a trained marker is compared in the same way: `--model FOLDER --page FILE`.
"""


def main() -> None:
    """Run, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--budgets", default="20,40")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    text = page(measured(given), given)
    if given.page is None:
        print(text)
    else:
        given.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
