"""Which cells and samples of a run are looked at: names of cells, filters by who is right, groups of samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..benchmarks.benchmark import Benchmark
from ..budget import Budget
from ..errors import UserError, unknown_name
from ..naming import bare
from ..runner.spec import Cell
from .pictures import Panel

PAIRS = ("A-right-B-wrong", "B-right-A-wrong", "both-right", "both-wrong")
FILTERS = ("full-right", "disagree", *PAIRS)
MOST_VALUES = 12  # a key of more values than this is no group
_MOST_KEYS = 6


def label_of(cell: Cell) -> str:
    """A cell in words."""
    return "full" if cell.method == "full" else f"{cell.method} at {cell.budget}"


def chosen(
    cells: Sequence[Cell],
    *,
    names: Sequence[str] = (),
    methods: Sequence[str] = (),
    budgets: Sequence[str] = (),
) -> list[Cell]:
    """The cells that were asked for.

    Args:
        cells: of the run, in table order.
        names: cells in the order in which they are shown: ``METHOD@BUDGET``, or ``METHOD`` where it has one budget.
        methods: all cells of these, with ``full`` as the reference.
        budgets: all cells at these, with ``full`` as the reference.

    Raises:
        UserError: a name that the run does not have, or one given twice.
    """
    if names and (methods or budgets):
        raise UserError("--cells names cells one by one; leave --method and --budget out, or --cells.")
    if names:
        found = [_named(name, cells) for name in names]
        twice = next((c for i, c in enumerate(found) if c in found[:i]), None)
        if twice is not None:
            raise UserError(f"--cells names {label_of(twice)} twice; name each cell once.")
        return found
    for name in methods:
        if not any(name in _names(c) for c in cells):
            raise unknown_name("method of this run", name, set().union(*map(_names, cells)))
    wanted = [_same_form(b) for b in budgets]
    known = {c.budget.partition("#")[0] for c in cells if c.method != "full"}
    for text, given in zip(wanted, budgets, strict=True):
        if text not in known | {c.budget for c in cells}:
            raise unknown_name("budget of this run", given, known)
    return [
        c
        for c in cells
        if c.method == "full"
        or (
            (not methods or not _names(c).isdisjoint(methods))
            and (not wanted or c.budget in wanted or c.budget.partition("#")[0] in wanted)
        )
    ]


def _named(name: str, cells: Sequence[Cell]) -> Cell:
    method, _, budget = name.replace(" at ", "@").rpartition("@")
    whole = {f"{c.method}@{c.budget}": c for c in cells}
    for text in (name, f"{method}@{_same_form(budget)}" if method else name):
        if text in whole:
            return whole[text]
    own = [c for c in cells if name in _names(c) or (method in _names(c) and c.budget == _same_form(budget))]
    if len(own) == 1:
        return own[0]
    if own:
        known = ", ".join(f"{c.method}@{c.budget}" for c in own)
        raise UserError(f"--cells {name}: the run has {known}; name one of them.")
    raise unknown_name("cell of this run", name, whole)


def _names(cell: Cell) -> set[str]:
    """What a method may be called: as it stands, and without the values of a sweep."""
    return {cell.method, bare(cell.method)}


def _same_form(budget: str) -> str:
    """A budget as runs write it (``10.0`` is ``10``); what is no budget stays, and is found to be unknown."""
    number, mark, draw = budget.strip().partition("#")
    try:
        return f"{Budget.parse(number)}{mark}{draw}"
    except UserError:
        return budget


def fits(panels: Sequence[Panel], only: str | None, full: Panel | None = None) -> bool:
    """Does a sample pass the filter?

    Args:
        panels: the chosen cells; the first two are A and B.
        only: of :data:`FILTERS`, None for all samples.
        full: the full model, whether it is among the chosen or not.
    """
    if only is None:
        return True
    if only == "disagree":
        return {True, False} <= {p.right for p in panels}
    if only == "full-right":
        full = full or next((p for p in panels if p.label == "full"), None)
        return full is not None and full.right is True and any(p.right is False for p in panels)
    return pair_of(panels[0].right, panels[1].right) == only


def pair_of(a: bool | None, b: bool | None) -> str | None:
    """Which of :data:`PAIRS` two verdicts are; None where one is missing."""
    if a is None or b is None:
        return None
    return {(1, 0): PAIRS[0], (0, 1): PAIRS[1], (1, 1): PAIRS[2], (0, 0): PAIRS[3]}[int(a), int(b)]


def groups_of(benchmark: Benchmark, metas: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """The benchmark's own groups; for one that declares none, those that its samples' ``meta`` shows.

    Returns:
        ``{key: {value: [numbers of samples]}}``; a sample may be in several groups of a key.
    """
    declared = [k for k in benchmark.groups if any(m.get(k) not in (None, "", []) for m in metas)]
    keys = declared or sorted({k for m in metas for k, v in m.items() if isinstance(v, (str, int, bool))})
    out: dict[str, dict[str, list[int]]] = {}
    for key in keys:
        found: dict[str, list[int]] = {}
        for number, meta in enumerate(metas):
            value = meta.get(key)
            for one in value if isinstance(value, list) else [value]:
                if one not in (None, ""):
                    found.setdefault(str(one), []).append(number)
        if found and (declared or 1 < len(found) <= MOST_VALUES):
            out[key] = dict(sorted(found.items()))
    return out if declared else dict(list(out.items())[:_MOST_KEYS])


def group_table(
    groups: Mapping[str, Mapping[str, list[int]]], rows: Sequence[Sequence[Panel]]
) -> tuple[list[str], list[list[str]]]:
    """Accuracy of every cell by group; of two cells also how often only one was right.

    Args:
        groups: of :func:`groups_of`.
        rows: the panels of every sample, in the order of its numbers.

    Returns:
        The heads, and a line per group, the first for all samples.
    """
    labels = [p.label for p in rows[0]] if rows else []
    pair = len(labels) == 2
    heads = ["group", "samples", *labels, *(["only A", "only B", "both right", "both wrong"] if pair else [])]
    lines = [_line("all", range(len(rows)), rows, pair)]
    lines += [
        _line(f"{key}: {value}", own, rows, pair) for key, values in groups.items() for value, own in values.items()
    ]
    return heads, lines


def _line(name: str, numbers: Iterable[int], rows: Sequence[Sequence[Panel]], pair: bool) -> list[str]:
    own = [rows[n] for n in numbers]
    out = [name, str(len(own))]
    for column in range(len(own[0]) if own else 0):
        scores = [score for row in own if (score := row[column].record["score"]) is not None]
        out.append(f"{100 * sum(scores) / len(scores):.1f}" if scores else "-")
    if pair:
        kinds = [pair_of(row[0].right, row[1].right) for row in own]
        out += [str(kinds.count(name)) for name in PAIRS]
    return out
