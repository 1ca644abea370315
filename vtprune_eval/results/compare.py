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

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .stats import holm, mcnemar, paired_difference, sign_flip, stated
from .summary_types import Comparison
from .types import Record

ALPHA = 0.05
NO_VERDICT = "no verdict (crashed)"
# With more reduced cells than this only cells of one budget are compared with each other: every further pair would
# cost power (Holm) and time, and answer a question that nobody asked.
ALL_PAIRS = 12
Cell = tuple[str, str]


@dataclass(frozen=True)
class Scores:
    """What a comparison needs of one cell's records on one task: a few bytes a record.

    Attributes:
        ids: of the samples; one object for all cells of the same samples.
        clusters: code of every sample's cluster, int ``(n,)``, in the order of the clusters' names; shared likewise.
        values: scores, -1 for none: int8 ``(n,)`` where all are 0 or 1, else float64.
        crashed: where the program crashed, bool ``(n,)``; None for nowhere.
    """

    ids: Sequence[str]
    clusters: np.ndarray
    values: np.ndarray
    crashed: np.ndarray | None

    @functools.cached_property
    def binary(self) -> bool:
        """Whether every score is 0 or 1."""
        return bool(np.isin(self.values, (0, 1)).all())

    @functools.cached_property
    def independent(self) -> bool:
        """Whether every sample is a cluster of its own."""
        return len(np.unique(self.clusters)) == len(self.clusters)

    @classmethod
    def of(cls, records: Sequence[Record], like: Scores | None = None) -> Scores:
        """The scores of records.

        Args:
            records: of one cell and task.
            like: another cell's, whose ids and clusters are shared where they are the same.
        """
        ids = [r["id"] for r in records]
        _, clusters = np.unique(np.asarray([r["cluster"] or r["id"] for r in records], str), return_inverse=True)
        clusters = clusters.astype(np.int32)
        if like is not None and like.ids == ids and np.array_equal(like.clusters, clusters):
            return cls(like.ids, like.clusters, *_values(records))
        return cls(ids, clusters, *_values(records))


def _values(records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray | None]:
    """``values`` and ``crashed`` of :class:`Scores`."""
    values = np.asarray([-1.0 if r["score"] is None else r["score"] for r in records], float)
    small = values.astype(np.int8)
    crashed = np.asarray([r["reason"] == "crash" for r in records], bool)
    return small if (small == values).all() else values, crashed if crashed.any() else None


def compare(own: Sequence[Record], other: Sequence[Record]) -> Comparison | None:
    """Paired comparison of two cells' records, before any adjustment; see :func:`compare_scores`.

    Args:
        own: records of one task; those without a score are left out, the rest is paired by sample id.
        other: records of one task; those without a score are left out, the rest is paired by sample id.
    """
    return compare_scores(first := Scores.of(own), Scores.of(other, first))


def compare_scores(own: Scores, other: Scores) -> Comparison | None:
    """Paired comparison of two cells, before any adjustment.

    Args:
        own: of one task; samples without a score are left out, the rest is paired by id.
        other: of one task; samples without a score are left out, the rest is paired by id.

    Returns:
        ``n`` pairs, ``difference`` own - other in [-1, 1] with ``ci95`` of a paired bootstrap over clusters
        (None of fewer than :data:`.stats.MIN_CLUSTERS`),
        ``only_own`` and ``only_other`` (samples on which one scores higher), ``test`` (``mcnemar`` or ``sign-flip``),
        its ``p``, and ``crashed``, pairs of which a side is a crash of the program; None where no scored
        sample is shared.
    """
    here, there = _pairs(own, other)
    if not len(here):
        return None
    a, b, clusters = own.values[here].astype(float), other.values[there].astype(float), own.clusters[here]
    difference, low, high = paired_difference(a, b, clusters)
    if len(here) == len(own.values) == len(other.values):
        exact = own.independent and own.binary and other.binary
    else:
        exact = len(np.unique(clusters)) == len(here) and bool(np.isin([a, b], (0.0, 1.0)).all())
    crashed = np.zeros(len(here), bool)
    for side, rows in ((own, here), (other, there)):
        if side.crashed is not None:
            crashed |= side.crashed[rows]
    return {
        "n": len(here),
        "difference": difference,
        "ci95": stated(low, high),
        "only_own": int((a > b).sum()),
        "only_other": int((a < b).sum()),
        "test": "mcnemar" if exact else "sign-flip",
        "p": mcnemar(a, b) if exact else sign_flip(a, b, clusters),
        "crashed": int(crashed.sum()),
    }


def _pairs(own: Scores, other: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both sides, pair by pair, in the order of ``own``."""
    if own.ids is other.ids:
        both = ((own.values >= 0) & (other.values >= 0)).nonzero()[0]
        return both, both
    scored = {i: row for row, (i, value) in enumerate(zip(other.ids, other.values, strict=True)) if value >= 0}
    pairs = [
        (row, scored[i])
        for row, (i, value) in enumerate(zip(own.ids, own.values, strict=True))
        if value >= 0 and i in scored
    ]
    rows = np.asarray(pairs, int).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def adjust(family: Sequence[Comparison]) -> None:
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
    records: Mapping[tuple[str, str, str], Sequence[Record]],
) -> tuple[dict[tuple[str, Cell], Comparison], list[Comparison]]:
    """All paired comparisons of a run, from its records by (task, method, budget); see :func:`compare_all`."""
    scores: dict[tuple[str, Cell], Scores] = {}
    for task in tasks:
        first = None
        for cell in cells:
            scores[task, cell] = Scores.of(records[task, cell[0], cell[1]], first)
            first = first or scores[task, cell]
    return compare_all(cells, tasks, scores)


def compare_all(
    cells: Sequence[Cell],
    tasks: Sequence[str],
    scores: Mapping[tuple[str, Cell], Scores],
) -> tuple[dict[tuple[str, Cell], Comparison], list[Comparison]]:
    """All paired comparisons of a run.

    Args:
        cells: (method, budget); the first of method ``full`` is the reference.
        tasks: those with an accuracy.
        scores: by task and cell.

    Returns:
        Against ``full``, by (task, cell); and between reduced cells (of one budget, where there are many), as a list
        of comparisons that also name ``task``, ``a`` and ``b`` (difference a - b).
    """
    base = next((c for c in cells if c[0] == "full"), None)
    reduced = [c for c in cells if c[0] != "full"]
    many = len(reduced) > ALL_PAIRS
    against: dict[tuple[str, Cell], Comparison] = {}
    between: list[Comparison] = []
    for task in tasks:
        if base is not None:
            for cell in reduced:
                found = compare_scores(scores[task, cell], scores[task, base])
                if found:
                    against[task, cell] = found
        for one, two in combinations(reduced, 2):
            if many and one[1] != two[1]:
                continue
            found = compare_scores(scores[task, one], scores[task, two])
            if found:
                between.append({"task": task, "a": list(one), "b": list(two), **found})
    adjust(list(against.values()))
    adjust(between)
    return against, between
