"""Answers again: a submitted result's on a sample, and a method's on the embedded suites.

Both run here, on the model that is part of the package, and need nothing but the checkout.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..benchmarks.definitions import SUITES
from ..benchmarks.tasks import Task, load_task
from ..errors import UserError
from ..models.embedded import EMBEDDED
from ..results.record import result_of
from ..results.run_files import RunSettings
from ..results.types import Record
from ..results.verified import engine_of
from ..runner.config import from_mapping
from ..runner.folder import Key, spec_of, task_of
from ..runner.spec import Cell, RunSpec
from .check_costs import Measured, fault

# Lengths that another processor does not change.
TOKENS = ("patches", "visual", "layer_tokens", "layer_visual", "cache_entries", "cache_visual")
# Of the answers of a row, these may differ where another processor breaks a near tie the other way.
TIES = 0.02
# Budgets at which a new method is tried: not every method can meet the small ones.
TRIED = ("10", "20", "45", "auto")


@dataclass
class Again:
    """What a re-run found.

    Attributes:
        n: answers that were given again.
        equal: of them, those with the same text.
        faults: sentences; none for a result that stands.
        ids: sample ids that were chosen, by task.
    """

    n: int = 0
    equal: int = 0
    faults: list[str] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)


def can_rerun(settings: Mapping[str, Any]) -> bool:
    """Whether a result can be answered again from the checkout alone: its model is embedded, or the stand-in."""
    return settings["model"] in {*EMBEDDED, "stub"} and settings["weights"] != "random"


def rerun(settings: RunSettings, records: Mapping[Key, Sequence[Mapping[str, Any]]], n: int, seed: str) -> Again:
    """Answer some samples of every cell again and compare.

    Args:
        settings: of the result; its model is embedded.
        records: of the result.
        n: samples per task.
        seed: of their choice; nobody may know it when records are written.

    Raises:
        UserError: absent data.
    """
    from ..runner.execute import load_factory

    spec = dataclasses.replace(spec_of(settings), device="cpu", engine="local", workers=None)
    found = Again()
    _, factory, coordinates = load_factory(spec)
    differ: dict[Cell, list[str]] = {}
    tried: dict[Cell, int] = {}
    for name in spec.tasks:
        task = task_of(spec, name)
        ids = task.samples.ids
        chosen = sorted(random.Random(f"{seed}/{name}").sample(ids, min(n, len(ids))))
        found.ids[name] = chosen
        for cell in spec.cells():
            own = {r["id"]: r for r in records[name, cell.method, cell.budget]}
            for record in _answers(spec, task, cell, chosen, factory(cell, task), coordinates):
                stated = own[record["id"]]
                found.n += 1
                tried[cell] = tried.get(cell, 0) + 1
                if why := _lengths_differ(stated, record, engine_of(settings) is not None):
                    found.faults.append(f"{cell.method} at {cell.budget} on {name}: sample {record['id']!r}: {why}")
                if stated["answer"] == record["answer"] and stated["status"] == record["status"]:
                    found.equal += 1
                else:
                    differ.setdefault(cell, []).append(f"{record['id']!r} of {name}")
    for cell, where in differ.items():
        if len(where) > max(1, TIES * tried[cell]):
            found.faults.append(
                f"{cell.method} at {cell.budget}: {len(where)} of {tried[cell]} answers are others than those that are "
                f"submitted (first {where[0]})"
            )
    return found


def _answers(spec: RunSpec, task: Task, cell: Cell, ids: Sequence[str], runner: Any, coordinates: str) -> list[Record]:
    from ..runner.answers import answer

    others = {i: None for i in task.samples.ids if i not in set(ids)}
    return [answer("", task, sample, runner, coordinates) for sample in task.samples.without(others)]


def _lengths_differ(stated: Mapping[str, Any], found: Mapping[str, Any], engine: bool) -> str:
    """A clause where a record's lengths are not those of the re-run, "" where they are."""
    if stated["status"] != found["status"]:
        return f"it {'failed' if found['status'] != 'ok' else 'was answered'} when it was run again ({found['reason']})"
    if found["status"] != "ok" or engine:
        return ""
    for name in TOKENS:
        ours, theirs = found["counts"].get(name), stated["counts"].get(name)
        if theirs is not None and list(theirs) != list(ours or ()):
            return f"{name} is {_short(theirs)}, run again {_short(ours)}"
    return ""


def _short(value: Any) -> str:
    text = str(list(value or ()))
    return text if len(text) <= 60 else text[:57] + "..."


def exercise(
    methods: Sequence[str],
    n: int,
    seed: str,
    budgets: Sequence[str] = TRIED,
    names: Sequence[str] = SUITES["mini"],
) -> tuple[list[str], list[str]]:
    """Run methods on the embedded suites, beside ``full``.

    Args:
        methods: names.
        n: samples per task.
        seed: of their choice.
        budgets: the first one that a method can meet is taken.
        names: of the tasks.

    Returns:
        What was seen, a sentence per method, and what is wrong.
    """
    from ..runner.execute import load_adapter, load_factory

    said: list[str] = []
    faults: list[str] = []
    full = from_mapping({"methods": ["full"], "tasks": list(names)})
    full = dataclasses.replace(full, device="cpu", dtype="float32")
    tasks = [load_task(t) for t in full.tasks]
    ids = {
        t.name: sorted(random.Random(f"{seed}/{t.name}").sample(t.samples.ids, min(n, len(t.samples)))) for t in tasks
    }
    adapter = load_adapter(full)
    model = Measured.of({"model": full.model, "weights": "hub", "dtype": "float32", "device": "cpu"})
    for name in (m for m in methods if m != "full"):
        try:
            spec = _feasible(full, name, budgets)
        except UserError as error:
            faults.append(f"{name}: {error}")
            continue
        _, factory, coordinates = load_factory(spec, adapter)
        cell = spec.cells()[-1]
        own: list[Record] = []
        wrong = len(faults)
        for task in tasks:
            runner = factory(cell, task)
            try:
                first, second = (_answers(spec, task, cell, ids[task.name], runner, coordinates) for _ in range(2))
            except UserError as error:
                faults.append(f"{name} at {cell.budget} on {task.name}: {error}")
                continue
            for a, b in zip(first, second, strict=True):
                why = ""
                if a["status"] != "ok":
                    why = f"{a['reason']}: {a['message']}" if a["reason"] != "infeasible_budget" else ""
                elif result_of(a) != result_of(b):
                    why = "answers another time differently"
                else:
                    why = fault(a, spec.make(name), model) or ""
                if why:
                    faults.append(f"{name} at {cell.budget} on {task.name}: sample {a['id']!r}: {why}")
            own += first
        if len(faults) > wrong:
            continue
        ok = [r for r in own if r["status"] == "ok"]
        if not ok:
            faults.append(f"{name} at {cell.budget}: no sample was answered")
            continue
        right = sum(r["score"] or 0.0 for r in own)
        spent = [r["spent"]["achieved_pct"] for r in ok if r["spent"]["achieved_pct"] is not None]
        said.append(
            f"{name} at {cell.budget} on {spec.model}: {len(ok)} of {len(own)} samples answered, twice alike, lengths "
            f"and bytes as counted, {sum(spent) / max(1, len(spent)):.1f} % spent, {right:.0f} right"
        )
    return said, faults


def _feasible(full: RunSpec, method: str, budgets: Sequence[str]) -> RunSpec:
    """``full`` with another method, at the first budget that it can meet."""
    last: UserError | None = None
    for budget in budgets:
        try:
            return dataclasses.replace(full, methods=(method,), budgets=(budget,))
        except UserError as error:
            last = error
    assert last is not None
    raise last
