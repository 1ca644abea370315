"""From records to one table: a row per method and budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..budget import reading_of
from ..notes import Note
from ..sample import UNSCORABLE
from .compare import NO_VERDICT, Scores, compare_all
from .costs import accuracy, costs_over, layer_visual_pct, target_recall, untouched
from .summary_types import CellSummary, Comparison, Summary, TaskSummary
from .types import Record, Reference

Key = tuple[str, str, str]


class Streamed(Mapping[Key, list[Record]]):
    """Records of cells that are read whenever they are asked for and held by nobody else: the memory of a summary
    is that of a cell, however many there are."""

    def __init__(self, keys: Iterable[Key], read: Callable[[Key], list[Record]]) -> None:
        """``keys``: (task, method, budget); ``read``: gives the records of one, in the order of the task."""
        self._keys, self._read = dict.fromkeys(keys), read

    def __getitem__(self, key: Key) -> list[Record]:
        if key not in self._keys:
            raise KeyError(key)
        return self._read(key)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def merge_draws(
    cells: Sequence[tuple[str, str]], records: Mapping[Key, list[Record]]
) -> tuple[list[tuple[str, str]], Mapping[Key, list[Record]]]:
    """One cell for the repetitions of a random control (``10``, ``10#1``, ...).

    Returns:
        the cells that are left, in their order; and the records: a sample's score is the mean of its scores, and
        ``draws`` holds the records of all repetitions.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for method, budget in cells:
        groups.setdefault((method, budget.partition("#")[0]), []).append(budget)

    def read(key: Key) -> list[Record]:
        task, method, number = key
        budgets = groups[method, number]
        if len(budgets) == 1:
            return records[task, method, budgets[0]]
        each = [{r["id"]: r for r in records[task, method, b]} for b in budgets]
        return [_mean_record(r, [d[i] for d in each if i in d]) for i, r in each[0].items()]

    tasks = dict.fromkeys(task for task, _, _ in records)
    return list(groups), Streamed(((task, *group) for task in tasks for group in groups), read)


def _mean_record(first: Record, draws: list[Record]) -> Record:
    scores = [r["score"] for r in draws if r["score"] is not None]
    mean = first.copy()
    mean["score"], mean["draws"] = sum(scores) / len(scores) if scores else None, draws
    return mean


def spread_of(own: Sequence[Record]) -> dict[str, Any] | None:
    """Accuracy of every repetition of a random control, and their standard deviation; None for a single one."""
    n = max((len(r.get("draws", ())) for r in own), default=0)
    if n < 2:
        return None
    scores = [[r["draws"][k]["score"] for r in own if len(r.get("draws", ())) > k] for k in range(n)]
    means = [float(np.mean([s for s in of if s is not None])) for of in scores if any(s is not None for s in of)]
    return {"n": n, "accuracies": means, "sd": float(np.std(means, ddof=1)) if len(means) > 1 else None}


def summarise(
    model: str,
    cells: Sequence[tuple[str, str]],
    tasks: Sequence[tuple[str, bool]],
    records: Mapping[Key, list[Record]],
    trained: bool,
    more: Callable[[str, list[Record]], TaskSummary] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Summary:
    """Rows of a run. The records of one cell are held at a time, beside what ratios need of the full model's.

    Args:
        model: short name.
        cells: (method, budget) in table order.
        tasks: (name, scored).
        records: by (task, method, budget), in the order of the task.
        trained: False for random weights, which have costs and no accuracy.
        more: what else a row says of a task, from the records of its cell.
        labels: per method, its name with every setting that is no default (:meth:`.spec.RunSpec.label`).

    Returns:
        ``{"model", "trained", "rows": [{"model", "method", "label", "budget", "tasks", "costs", "notes"}],
        "between": [...]}``; ``label`` is the method with every setting that is no default;
        ``between`` compares the reduced cells with each other (:func:`.compare.compare_all`).
    """
    base = next((c for c in cells if c[0] == "full"), None)
    graded_tasks = [task for task, scored in tasks if scored and trained]
    reference = {task: [_reference(r) for r in records[task, base[0], base[1]]] for task, _ in tasks} if base else {}
    scores: dict[tuple[str, tuple[str, str]], Scores] = {}
    shared: dict[str, Scores] = {}  # by task: whose ids the other cells' are the same as
    readings: set[str] = set()
    rows: list[CellSummary] = []
    for method, budget in cells:
        per_task: dict[str, TaskSummary] = {}
        drawn: dict[str, list[Record]] = {}
        unscored: list[Note] = []
        for task, scored in tasks:
            own = records[task, method, budget]
            drawn[task] = [d for r in own for d in r.get("draws", (r,))]
            per_task[task] = _entry(own, scored and trained, (method, budget) != base and base is not None)
            if task in graded_tasks:
                scores[task, (method, budget)] = found = Scores.of(own, shared.get(task))
                shared.setdefault(task, found)
                if not rows:  # it is the same in every row
                    unscored += _unscored(task, own)
            if more is not None:
                per_task[task] |= more(task, own)
            readings |= {reading_of(r.get("spent") or {}) for r in own if r["status"] == "ok"}
        label = (labels or {}).get(method, method)
        everything = [r for found in drawn.values() for r in found]
        rows.append(
            {
                "model": model,
                "method": method,
                "label": label,
                "budget": "-" if method == "full" else budget,
                "tasks": per_task,
                "costs": costs_over([(found, reference.get(task)) for task, found in drawn.items()], trained),
                "notes": _notes(everything, label, budget) + unscored,
            }
        )
        del own, drawn, everything
    against, between = compare_all(cells, graded_tasks, scores)
    for cell, row in zip(cells, rows, strict=True):
        _tell_against(row, cell, base, against, trained)
    reading = next(iter(readings)) if len(readings) == 1 else None
    return {"model": model, "trained": trained, "reading": reading, "rows": rows, "between": between}


def _reference(record: Record) -> Reference:
    """What ratios to the full model need of its record."""
    return {"id": record["id"], "status": record["status"], "times": record["times"], "flops": record["flops"]}


def _entry(own: list[Record], graded: bool, compared: bool) -> TaskSummary:
    """One task of a row; ``vs_full`` is kept a place where the cell may be compared with ``full``."""
    entry: TaskSummary = {
        "n": len(own),
        "n_failed": sum(r["status"] == "failed" for r in own),
        "failures": dict(Counter(r["reason"] for r in own if r["status"] == "failed")),
    }
    scored = [r for r in own if r["score"] is not None]
    if graded and scored:
        entry |= accuracy(scored)
        spread = spread_of(own)
        if spread:
            entry["seeds"] = spread
        if compared:
            entry["vs_full"] = None
    recall = target_recall(own)
    if recall:
        entry["target_recall"] = recall
    return entry


def _tell_against(
    row: CellSummary,
    cell: tuple[str, str],
    base: tuple[str, str] | None,
    against: Mapping[tuple[str, tuple[str, str]], Comparison],
    trained: bool,
) -> None:
    """Put a row's comparisons with ``full`` in their places, and their mean."""
    for task, entry in row["tasks"].items():
        if "vs_full" in entry:
            if (task, cell) in against:
                entry["vs_full"] = against[task, cell]
            else:
                del entry["vs_full"]
    if base and trained:
        told = [c for t in row["tasks"].values() if (c := t.get("vs_full"))]
        changes = [c["difference"] for c in told if c["verdict"] != NO_VERDICT]
        row["costs"]["accuracy_change"] = 0.0 if cell == base else float(np.mean(changes)) if changes else None


def _unscored(task: str, own: list[Record]) -> list[Note]:
    name, out = task.split()[0], []
    for reason, why in (("no_target", "their records have no target"), (UNSCORABLE, "their annotation cannot be read")):
        found = [r for r in own if r["reason"] == reason]
        if found:
            first = f"; first {found[0]['id']}: {found[0]['parts']['why']}" if reason == UNSCORABLE else ""
            code = "row_nothing_scored" if len(found) == len(own) else "row_unscored"
            about: dict[str, str | int] = {
                "task": task,
                "n": len(found),
                "of": len(own),
                "why": why,
                "name": name,
                "first": first,
            }
            out.append(Note(code, about))
    return out


def _notes(own: list[Record], method: str, budget: str) -> list[Note]:
    cell, notes = f"{method} at {budget}", []
    done = [r for r in own if r["status"] == "ok"]
    crashed = [r for r in own if r["reason"] == "crash"]
    if crashed:
        first = {"sample": crashed[0]["id"], "message": crashed[0]["message"]}
        notes.append(Note("row_crashed", {"cell": cell, "n": len(crashed), "of": len(own), **first}))
    if method != "full" and budget != "100" and untouched(done):
        notes.append(Note("row_untouched", {"method": method, "budget": budget}))
    of_samples = [{note.code: note for note in map(Note.read, r["notes"])} for r in done]

    def count(*codes: str) -> dict[str, int]:
        return {"n": sum(any(code in found for code in codes) for found in of_samples), "of": len(done)}

    def first_of(code: str) -> str | None:
        return next((str(found[code]) for found in of_samples if code in found), None)

    if count("under", "under_layers")["n"]:
        notes.append(Note("row_under", {"cell": cell, **count("under", "under_layers")}))
    if count("over")["n"]:
        notes.append(Note("row_over", {"cell": cell, **count("over")}))
    if count("over_layers")["n"]:
        percent = layer_visual_pct(done)
        assert percent is not None, "a mean over the layers was noted"
        notes.append(Note("row_over_layers", {"cell": cell, "percent": percent, **count("over_layers")}))
    marker = first_of("untrained_marker")
    if marker:
        notes.append(Note("row_said", {"cell": cell, "note": marker}))
    stored = first_of("per_query_head")
    if stored:
        larger = count("cache_larger")
        code, more = ("row_cache_larger", larger) if larger["n"] else ("row_said", {})
        notes.append(Note(code, {"cell": cell, "note": stored, **more}))
    return notes
