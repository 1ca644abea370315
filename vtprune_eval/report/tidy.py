"""Runs as one table of plain numbers: a line per method, budget and task, and per mean over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..budget import Budget, reading_of
from ..naming import bare, parts_of, settings_in
from ..results.compare import adjust, compare
from ..results.record import scored
from ..results.stats import mean_over_groups
from ..results.summary import spread_of
from .gathered import MEAN, Gathered, Row, has_tasks, tasks_in
from .measures import costs_on, value_of

_TEXT = ("model", "method", "settings", "label", "budget", "reading", "task", "finding", "machine", "run")
_COUNTS = ("n", "n_failed", "seeds", "timed_samples")
_SHARES = (
    *("accuracy", "accuracy_low", "accuracy_high", "accuracy_sd_of_seeds"),
    *("retention", "retention_low", "retention_high", "target_recall"),
    *("difference", "difference_low", "difference_high", "p", "p_holm"),
)
_COSTS = (
    *("visual_tokens", "visual_kept_pct", "layer_visual_pct", "flops", "flops_prefill", "kv_bytes"),
    *("ttft_ms", "tpot_ms", "e2e_ms", "e2e_p95_ms", "image_decode_ms", "preprocess_ms", "select_ms", "vit_ms"),
    *("prefill_ms", "decode_ms", "peak_bytes", "energy_j", "energy_per_correct_j"),
)
_SPEED = ("speedup", "speedup_low", "speedup_high")
# Columns and their types, in their order.
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("model", "method", "settings", "label", "budget"), str),
    "budget_pct": float,
    "reading": str,
    "achieved_pct": float,
    "task": str,
    **dict.fromkeys(("n", "n_failed", "seeds"), int),
    **dict.fromkeys(_SHARES, float),
    "finding": str,
    **dict.fromkeys(_COSTS, float),
    "timed_samples": int,
    **dict.fromkeys(_SPEED, float),
    "machine": str,
    "run": str,
}


def lines_of(data: Gathered, rows: Sequence[Row], tasks: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of some rows on some tasks (``mean`` is one); a value that is not known is None.

    Differences to ``full`` are tested together: Holm's adjustment runs over all lines of single tasks.
    """
    out: list[dict[str, Any]] = []
    family = []
    for row in rows:
        for task in tasks:
            own = tasks_in(data, task)
            if not has_tasks(row, own):
                continue
            line = {**dict.fromkeys(COLUMNS), **_who(row), "task": task, **_values(data, row, own)}
            if task != MEAN and data.full is not None and row is not data.full and data.trained:
                found = compare(row.records[task], data.full.records.get(task, []))
                if found:
                    family.append(found)
                    line["_found"] = found
            out.append(line)
    adjust(family)
    for line in out:
        found = line.pop("_found", None)
        if found:
            low, high = found["ci95"] or (None, None)
            line |= {"difference": found["difference"], "difference_low": low, "difference_high": high}
            line |= {"p": found["p"], "p_holm": found["p_holm"], "finding": found["verdict"]}
    return out


def _who(row: Row) -> dict[str, Any]:
    settings = row.source.settings
    parts = parts_of(row.label)
    said = [f"{f'{bare(p)}.' if len(parts) > 1 else ''}{k}={v}" for p in parts for k, v in settings_in(p).items()]
    budget = Budget.parse(row.budget) if row.budget != "-" else Budget.parse("100")
    return {
        "model": settings["model"],
        "method": bare(row.method),
        "settings": ", ".join(said),
        "label": row.label,
        "budget": str(budget),
        "budget_pct": float(budget.value) if budget.kind == "percent" and budget.value is not None else None,
        "reading": reading_of(settings),
        "machine": row.source.machine,
        "run": row.source.identity,
    }


def _values(data: Gathered, row: Row, tasks: Sequence[str]) -> dict[str, Any]:
    costs = [costs_on(row, t, data.full) for t in tasks]
    out: dict[str, Any] = {"n": sum(len(row.records[t]) for t in tasks)}
    out["n_failed"] = sum(r["status"] == "failed" for t in tasks for r in row.records[t])
    out |= {key: _mean([c.get(key) for c in costs]) for key in ("achieved_pct", *_COSTS)}
    out["timed_samples"] = sum(r["times"] is not None for t in tasks for r in row.answers(t))
    if len(tasks) == 1:
        out["speedup"] = costs[0].get("speedup")
        out["speedup_low"], out["speedup_high"] = costs[0].get("speedup_ci95") or (None, None)
        spread = spread_of(row.records[tasks[0]])
        out |= {"seeds": spread["n"], "accuracy_sd_of_seeds": spread["sd"]} if spread else {}
    for name, measure in (("accuracy", "accuracy"), ("retention", "retention")):
        if measure == "retention" and data.full is None:
            continue
        found = value_of(row, tasks, measure, data.full)
        if found is not None:
            out |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
    recall = value_of(row, tasks, "recall")
    out["target_recall"] = recall[0] if recall else None
    if len(tasks) > 1 and data.trained:
        out |= _mean_difference(data, row, tasks)
    return out


def _mean_difference(data: Gathered, row: Row, tasks: Sequence[str]) -> dict[str, Any]:
    """The mean over tasks of the paired difference to ``full``, with its interval; {} where a task has none."""
    full = data.full
    if full is None or row is full or not has_tasks(full, tasks):
        return {}
    groups = []
    for task in tasks:
        base = {r["id"]: score for r, score in scored(full.records[task])}
        own = [(r, score) for r, score in scored(row.records[task]) if r["id"] in base]
        if not own:
            return {}
        groups.append(([s - base[r["id"]] for r, s in own], [str(r["cluster"] or r["id"]) for r, _ in own]))
    mean, low, high = mean_over_groups(groups)
    known = low == low  # NaN where there are too few clusters
    return {
        "difference": mean,
        "difference_low": low if known else None,
        "difference_high": high if known else None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    return None if any(v is None for v in values) else sum(values) / len(values)  # type: ignore[arg-type]
