"""What a figure or a table shows of a row: accuracy, retention, target recall, costs; with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UserError, unknown_name
from ..results.costs import costs_of
from ..results.quantities import QUANTITIES, Quantity
from ..results.record import scored
from ..results.stats import mean_interval, mean_over_groups
from ..results.types import Record
from .gathered import Row, has_tasks

# Costs that rows can be drawn against, by the name on the command line.
COSTS = {
    name: QUANTITIES[key]
    for name, key in (
        ("flops", "flops_prefill"),
        ("flops-all", "flops"),
        ("tokens", "layer_visual_pct"),
        ("tokens-in", "visual_kept_pct"),
        ("achieved", "achieved_pct"),
        ("kv", "kv_bytes"),
        ("ttft", "ttft_ms"),
        ("e2e", "e2e_ms"),
        ("peak", "peak_bytes"),
        ("energy", "energy_j"),
    )
}
MEASURES = {
    "accuracy": "accuracy (%)",
    "retention": "accuracy, % of full",
    "recall": "target recall (%)",
}
Value = tuple[float, float | None, float | None]


def cost_named(name: str) -> Quantity:
    """A cost by its name on the command line.

    Raises:
        UserError: unknown.
    """
    if name not in COSTS:
        raise unknown_name("cost", name, COSTS)
    return COSTS[name]


def cost_of(row: Row, tasks: Sequence[str], cost: Quantity) -> float | None:
    """Mean over tasks of a row's cost, in the unit of its label; None where a task has none."""
    values = [costs_on(row, t).get(cost.key) for t in tasks]
    return None if any(v is None for v in values) else cost.factor * sum(values) / len(values)  # type: ignore[arg-type]


def costs_on(row: Row, task: str, full: Row | None = None) -> dict[str, Any]:
    """Costs of a row on one task (:func:`..results.costs.costs_of`), and ``flops_prefill``.

    Args:
        row: of the method.
        task: that it has.
        full: of the full model, for speed-ups.
    """
    own = row.answers(task)
    base = full.answers(task) if full is not None and task in full.records else None
    counted = [r["flops"].get("total_prefill") for r in own if r["status"] == "ok" and r["flops"]]
    known = [v for v in counted if v is not None]
    return {
        **costs_of(own, base, row.source.trained),
        "flops_prefill": float(np.mean(known)) if known else None,
    }


def value_of(row: Row, tasks: Sequence[str], measure: str, full: Row | None = None) -> Value | None:
    """A row's measure as a share, with its 95 % interval: the mean over tasks, each of one weight.

    Args:
        row: of the method.
        tasks: one or several; the interval of several resamples the clusters of each.
        measure: of :data:`MEASURES`.
        full: of the full model, for ``retention``.

    Returns:
        mean, low, high (None where there are too few clusters); None where a task has no such value.

    Raises:
        UserError: ``retention`` without a row of the full model.
    """
    if not has_tasks(row, tasks):
        return None
    if measure == "retention":
        return _retention(row, tasks, full)
    groups = []
    for task in tasks:
        pairs = [(v, str(r["cluster"] or r["id"])) for r in row.records[task] if (v := _single(r, measure)) is not None]
        if not pairs or (measure == "accuracy" and not row.source.trained):
            return None
        groups.append(([v for v, _ in pairs], [c for _, c in pairs]))
    if len(groups) == 1:
        return _plain(mean_interval(*groups[0]))
    return _plain(mean_over_groups(groups))


def _single(record: Record, measure: str) -> float | None:
    """One sample's value."""
    if measure == "accuracy":
        return None if record["score"] is None else float(record["score"])
    draws: Sequence[Record] = record.get("draws") or (record,)
    found = [recall["cache"] for d in draws if (recall := d.get("target_recall"))]
    return float(np.mean(found)) if found else None


def _retention(row: Row, tasks: Sequence[str], full: Row | None) -> Value | None:
    if full is None:
        raise UserError("retention is a share of the full model's accuracy, and no run has full; choose --y accuracy.")
    if not has_tasks(full, tasks) or not row.source.trained:
        return None
    groups, bases = [], []
    for task in tasks:
        scores = {r["id"]: score for r, score in scored(full.records[task])}
        own = [(r, score) for r, score in scored(row.records[task]) if r["id"] in scores]
        if not own:
            return None
        groups.append(([score for _, score in own], [str(r["cluster"] or r["id"]) for r, _ in own]))
        bases.append([scores[r["id"]] for r, _ in own])
    if not any(sum(base) for base in bases):
        return None
    return _plain(mean_over_groups(groups, bases))


def _plain(found: tuple[float, float, float]) -> Value:
    mean, low, high = found
    return mean, None if math.isnan(low) else low, None if math.isnan(high) else high


def stage_times(row: Row, tasks: Sequence[str]) -> list[dict[str, float | None]]:
    """Times in ms by stage of every sample of a row that was timed, over all tasks."""
    return [r["times"] for t in tasks for r in row.answers(t) if r["status"] == "ok" and r["times"] is not None]
