"""Two runs held against each other: what differs in them, and every pair of rows sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ..errors import UserError
from ..naming import bare, typed
from ..results.compare import adjust, compare
from ..results.record import scored
from ..results.stats import mean_over_groups, paired_ratio, stated
from ..results.summary_types import Paired
from .gathered import MEAN, Row, Source, ids_of, load, rows_of_source


class PairLine(Paired, total=False):
    """Two rows on one task, or on the mean over tasks; what random weights or crashes leave out is absent.

    Attributes:
        task: its name.
        a: name of the first row.
        b: name of the second.
        same_answer: samples with one text.
        accuracy_a: of the first.
        accuracy_b: of the second.
        flops_ratio: A over B.
        time_ratio: A over B, sample by sample; null where they were not timed on one machine.
        time_ratio_ci95: its interval.
    """

    task: str
    a: str
    b: str
    same_answer: int
    accuracy_a: float
    accuracy_b: float
    flops_ratio: float | None
    time_ratio: float | None
    time_ratio_ci95: list[float] | None


def differences(a: Source, b: Source) -> list[tuple[str, str, str]]:
    """What differs in two runs' settings and machines: name, value in A, value in B."""
    out = []
    one, other = _flat(a), _flat(b)
    for key in dict.fromkeys((*one, *other)):
        if one.get(key) != other.get(key):
            out.append((key, one.get(key, "-"), other.get(key, "-")))
    return out


def _flat(source: Source) -> dict[str, str]:
    """Settings and what is known of the machine, as text by name."""
    out: dict[str, str] = {}
    settings = source.settings
    for key, value in settings.items():
        if key == "params":
            out |= {f"set {k}": typed(v) for k, v in settings["params"].items()}
        elif key == "data":
            out |= {f"data of {k}": str(v) for k, v in settings["data"].items()}
        elif isinstance(value, (list, tuple)):
            out[key] = ", ".join(map(str, value))
        else:
            out[key] = "none" if value is None else str(value)
    environment = source.environment
    out["machine"] = source.machine
    out["commit"] = str(environment.get("commit") or "none")[:12]
    out |= {f"version of {k}": str(v) for k, v in (environment.get("packages") or {}).items()}
    return out


def pairs_of(
    a: Source, b: Source, one: Sequence[str] | None = None, other: Sequence[str] | None = None
) -> list[tuple[Row, Row]]:
    """Rows that belong together: of one label and budget, else of one method and budget where each run has one.

    Args:
        a: the runs.
        b: the runs.
        one: names of rows (``METHOD@BUDGET``, or ``full``), for pairs of one's own; where only one of the two is given,
            the names are meant in both.
        other: names of rows (``METHOD@BUDGET``, or ``full``), for pairs of one's own; where only one of the two is
            given, the names are meant in both.

    Raises:
        UserError: a name that no row has, or nothing that belongs together.
    """
    rows = [rows_of_source(s) for s in (a, b)]
    if one or other:
        if one and other and len(one) != len(other):
            raise UserError(f"--a names {len(one)} rows and --b {len(other)}; give one --b for every --a.")
        names = zip(one or other or (), other or one or (), strict=True)
        return [(_row(rows[0], x, a), _row(rows[1], y, b)) for x, y in names]
    out = []
    for row in rows[0]:
        same = [r for r in rows[1] if (r.label, r.budget) == (row.label, row.budget)]
        if not same:
            alike = [[r for r in own if (bare(r.method), r.budget) == (bare(row.method), row.budget)] for own in rows]
            same = alike[1] if len(alike[0]) == len(alike[1]) == 1 else []
        out += [(row, r) for r in same[:1]]
    if not out:
        raise UserError(
            f"{a.path} and {b.path} have no method at one budget in common; name a row of each with --a METHOD@BUDGET "
            f"and --b METHOD@BUDGET (A has {_listed(rows[0])}; B has {_listed(rows[1])})."
        )
    return out


def _row(rows: Sequence[Row], name: str, source: Source) -> Row:
    found = [r for r in rows if name in (f"{r.label}@{r.budget}", f"{r.method}@{r.budget}", r.name)]
    found = found or [r for r in rows if name in (r.label, r.method, bare(r.method))]
    if len(found) != 1:
        why = f"{len(found)} rows of {source.path} are called" if found else f"no row of {source.path} is called"
        raise UserError(f"{why} {name!r}; it has {_listed(rows)}.")
    return found[0]


def _listed(rows: Sequence[Row]) -> str:
    names = [f"{r.label}@{r.budget}" if r.method != "full" else "full" for r in rows]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def check_samples(a: Source, b: Source) -> list[str]:
    """The tasks that both runs have, on the same samples under the same rule.

    Raises:
        UserError: no common task, or one with other data, samples or rules.
    """
    tasks = [t for t in a.settings["tasks"] if t in b.settings["data"]]
    if not tasks:
        raise UserError(
            f"{a.path} ({', '.join(a.settings['data'])}) and {b.path} ({', '.join(b.settings['data'])}) have no task "
            "in common, so no sample can be paired."
        )
    for key, words in (("protocol", "scoring rules"), ("history", "numbers of earlier screenshots")):
        if a.settings.get(key) != b.settings.get(key):
            raise UserError(
                f"{a.path} and {b.path} have different {words} ({a.settings.get(key)}; {b.settings.get(key)}), so "
                "their samples are not the same questions; run one of them again."
            )
    for task in tasks:
        ids = ids_of(a, task), ids_of(b, task)
        if ids[0] != ids[1]:
            raise UserError(
                f"{a.path} and {b.path} do not hold the same samples of {task} ({len(ids[0])} and {len(ids[1])}, "
                f"{len(ids[0] & ids[1])} in common); run both with the same --limit."
            )
        one, other = a.settings["data"][task], b.settings["data"][task]
        if one != other:
            raise UserError(
                f"{a.path} and {b.path} have different data of {task} ({one}; {other}), so their samples cannot be "
                "paired; run one of them again on the same data."
            )
    return tasks


def held_against(
    first: str, second: str, one: Sequence[str] | None = None, other: Sequence[str] | None = None
) -> tuple[list[tuple[str, str, str]], list[PairLine]]:
    """Two runs: what differs in them, and their rows compared.

    Args:
        first: run folders or result files.
        second: run folders or result files.
        one: see :func:`pairs_of`.
        other: see :func:`pairs_of`.

    Returns:
        :func:`differences`, and a line per pair of rows and task, and per mean over tasks.

    Raises:
        UserError: what cannot be read or paired.
    """
    a, b = load(first), load(second)
    tasks = check_samples(a, b)
    lines: list[PairLine] = []
    for row, base in pairs_of(a, b, one, other):
        own = [_pair(row, base, task, a.machine == b.machine) for task in tasks]
        lines += own
        if len(tasks) > 1 and all("difference" in line for line in own):
            lines.append(_mean(row, base, tasks, own))
    compared: list[Any] = [line for line in lines if "p" in line]  # with columns of their own beside
    adjust(compared)
    return differences(a, b), lines


def _pair(row: Row, base: Row, task: str, timed: bool) -> PairLine:
    one, other = row.records[task], base.records[task]
    texts = {r["id"]: r["answer"] for r in other}
    line: PairLine = {"task": task, "a": row.name, "b": base.name, "n": len(one)}
    line["same_answer"] = sum(r["answer"] == texts[r["id"]] and r["status"] == "ok" for r in one)
    if row.source.trained and base.source.trained:
        found = compare(one, other)
        if found:
            scores = {r["id"]: r["score"] for r in other}
            both = [r for r in one if r["score"] is not None and scores[r["id"]] is not None]
            line.update(cast(PairLine, found))
            line["accuracy_a"] = float(np.mean([r["score"] for r in both]))
            line["accuracy_b"] = float(np.mean([scores[r["id"]] for r in both]))
    line.update(_costs(row, base, task, timed))
    return line


def _costs(row: Row, base: Row, task: str, timed: bool) -> PairLine:
    """Ratios of FLOPs and of times, A over B."""
    of_b = {r["id"]: r for r in base.records[task] if r["status"] == "ok"}
    pairs = [(r, of_b[r["id"]]) for r in row.records[task] if r["status"] == "ok" and r["id"] in of_b]
    counted = [(x["flops"]["total"], y["flops"]["total"]) for x, y in pairs if x["flops"] and y["flops"]]
    out: PairLine = {"flops_ratio": None, "time_ratio": None, "time_ratio_ci95": None}
    if counted:
        out["flops_ratio"] = float(np.mean([x for x, _ in counted]) / np.mean([y for _, y in counted]))
    times = [((x["times"] or {}).get("e2e_ms") or 0.0, (y["times"] or {}).get("e2e_ms") or 0.0, x) for x, y in pairs]
    times = [(x, y, r) for x, y, r in times if x > 0 and y > 0] if timed else []
    if times:
        clusters = [r["cluster"] or r["id"] for _, _, r in times]
        ratio, low, high = paired_ratio([x for x, _, _ in times], [y for _, y, _ in times], clusters)
        out["time_ratio"], out["time_ratio_ci95"] = ratio, stated(low, high)
    return out


def _mean(row: Row, base: Row, tasks: Sequence[str], own: Sequence[PairLine]) -> PairLine:
    groups = []
    for task in tasks:
        scores = {r["id"]: score for r, score in scored(base.records[task])}
        both = [(r, score) for r, score in scored(row.records[task]) if r["id"] in scores]
        groups.append(([s - scores[r["id"]] for r, s in both], [str(r["cluster"] or r["id"]) for r, _ in both]))
    mean, low, high = mean_over_groups(groups)
    return {
        "task": MEAN,
        "a": row.name,
        "b": base.name,
        "n": sum(line["n"] for line in own),
        "same_answer": sum(line["same_answer"] for line in own),
        "only_own": sum(line["only_own"] for line in own),
        "only_other": sum(line["only_other"] for line in own),
        "difference": mean,
        "ci95": None if math.isnan(low) else [low, high],
        "accuracy_a": float(np.mean([line["accuracy_a"] for line in own])),
        "accuracy_b": float(np.mean([line["accuracy_b"] for line in own])),
    }
