"""Paired comparisons of the cells of one run: which differences are larger than chance.

Per task, every cell is compared with ``full`` on the same samples, and every two reduced cells with each other. A
sample that failed counts as wrong on its side, as in the accuracy. p values:

- 0/1 scores of independent samples: McNemar's exact test.
- anything else (partial credit, or steps of one episode): a sign-flip permutation test on the differences, whole
  clusters flipped together, because McNemar's test would take an episode's steps for independent.

Holm's adjustment runs over all comparisons with ``full`` of a table, and over all comparisons between methods
separately: these are two questions. A difference is called one only where the adjusted p is below ``ALPHA``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from .stats import holm, mcnemar, paired_difference, sign_flip, stated

ALPHA = 0.05
NO_VERDICT = "no verdict (crashed)"
# With more reduced cells than this only cells of one budget are compared with each other: every further pair would
# cost power (Holm) and time, and answer a question that nobody asked.
ALL_PAIRS = 12
Cell = tuple[str, str]


def compare(own: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Paired comparison of two cells' records, before any adjustment.

    Args:
        own, other: records of one task; those without a score are left out, the rest is paired by sample id.

    Returns:
        ``n`` pairs, ``difference`` own - other in [-1, 1] with ``ci95`` of a paired bootstrap over clusters
        (None of fewer than :data:`.stats.MIN_CLUSTERS`),
        ``only_own`` and ``only_other`` (samples on which one scores higher), ``test`` (``mcnemar`` or ``sign-flip``),
        its ``p``, and ``crashed``, pairs of which a side is a crash of the program; None where no scored
        sample is shared.
    """
    by_id = {r["id"]: r for r in other if r["score"] is not None}
    pairs = [(r, by_id[r["id"]]) for r in own if r["score"] is not None and r["id"] in by_id]
    if not pairs:
        return None
    a, b = [p["score"] for p, _ in pairs], [q["score"] for _, q in pairs]
    clusters = [p["cluster"] or p["id"] for p, _ in pairs]
    difference, low, high = paired_difference(a, b, clusters)
    exact = len(set(clusters)) == len(pairs) and {*a, *b} <= {0.0, 1.0}
    return {
        "n": len(pairs),
        "difference": difference,
        "ci95": stated(low, high),
        "only_own": sum(x > y for x, y in zip(a, b, strict=True)),
        "only_other": sum(x < y for x, y in zip(a, b, strict=True)),
        "test": "mcnemar" if exact else "sign-flip",
        "p": mcnemar(a, b) if exact else sign_flip(a, b, clusters),
        "crashed": sum("crash" in (p["reason"], q["reason"]) for p, q in pairs),
    }


def adjust(family: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm``, ``distinguishable`` and ``verdict`` to all comparisons of one family, in place.

    The verdict is ``better``, ``worse``, ``not distinguishable``, ``equal on every sample``, or ``no verdict``: a
    program that crashed on one side says nothing about its method, and takes no part in the adjustment.
    """
    for entry in family:
        if entry.get("crashed"):
            entry |= {"p": 1.0, "p_holm": 1.0, "distinguishable": False, "verdict": NO_VERDICT}
    family = [e for e in family if not e.get("crashed")]
    for entry, p in zip(family, holm([e["p"] for e in family]), strict=True):
        entry["p_holm"] = p
        entry["distinguishable"] = p < ALPHA
        if p < ALPHA:
            entry["verdict"] = "better" if entry["difference"] > 0 else "worse"
        else:
            same = entry["only_own"] == entry["only_other"] == 0
            entry["verdict"] = "equal on every sample" if same else "not distinguishable"


def compare_cells(
    cells: Sequence[Cell],
    tasks: Sequence[str],
    records: dict[tuple[str, str, str], list[dict[str, Any]]],
) -> tuple[dict[tuple[str, Cell], dict[str, Any]], list[dict[str, Any]]]:
    """All paired comparisons of a run.

    Args:
        cells: (method, budget); the first of method ``full`` is the reference. tasks: those with an accuracy.
        records: by (task, method, budget).

    Returns:
        Against ``full``, by (task, cell); and between reduced cells (of one budget, where there are many), as a list
        of comparisons that also name ``task``, ``a`` and ``b`` (difference a - b).
    """
    base = next((c for c in cells if c[0] == "full"), None)
    reduced = [c for c in cells if c[0] != "full"]
    many = len(reduced) > ALL_PAIRS
    against: dict[tuple[str, Cell], dict[str, Any]] = {}
    between: list[dict[str, Any]] = []
    for task in tasks:
        if base is not None:
            for cell in reduced:
                found = compare(records[task, cell[0], cell[1]], records[task, base[0], base[1]])
                if found:
                    against[task, cell] = found
        for one, two in combinations(reduced, 2):
            if many and one[1] != two[1]:
                continue
            found = compare(records[task, one[0], one[1]], records[task, two[0], two[1]])
            if found:
                between.append({"task": task, "a": list(one), "b": list(two), **found})
    adjust(list(against.values()))
    adjust(between)
    return against, between
