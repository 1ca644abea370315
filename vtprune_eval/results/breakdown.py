"""What the authors of a benchmark print beside one accuracy: groups, action types, grounding given the right type.

Everything is computed from records, failed ones included: a sample that could not be run is wrong in every group it
belongs to. The order of the records does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..benchmarks.benchmark import Benchmark
from .stats import mean_interval, shown, stated
from .summary_types import TaskSummary

Record = Mapping[str, Any]


def breakdown(benchmark: Benchmark, records: Sequence[Record]) -> TaskSummary:
    """Groups, secondary measures and the authors' own aggregate.

    Args:
        benchmark: of the task; one without groups gives {}.
        records: of one task and cell.

    Returns:
        ``{"breakdown": {key: {value: {"n", "accuracy", "ci95"}}}, "measures": {name: {"n", "accuracy", "ci95"}},
        "authors": {...}}``. ``measures``: ``type_match``, ``grounding_given_type``, ``op_f1`` where the rule has them;
        ``authors``: the aggregate that the benchmark's papers print.
    """
    graded = sorted((r for r in records if r["score"] is not None), key=lambda r: r["id"])
    if not benchmark.groups or not graded:
        return {}
    out: dict[str, Any] = {}
    for key in benchmark.groups:
        groups: dict[str, list[Record]] = {}
        for r in graded:
            values = r["meta"].get(key)
            for value in values if isinstance(values, list) else [values]:
                if value not in (None, ""):
                    groups.setdefault(str(value), []).append(r)
        if groups:
            out[key] = {v: _mean(groups[v], lambda r: r["score"]) for v in sorted(groups)}
    return {"breakdown": out, "measures": _measures(graded), "authors": benchmark.report(graded)}


def _mean(records: Sequence[Record], value: Callable[[Record], float]) -> dict[str, Any]:
    mean, low, high = mean_interval([float(value(r)) for r in records], [r["cluster"] or r["id"] for r in records])
    return {"n": len(records), "accuracy": mean, "ci95": stated(low, high)}


def _measures(graded: Sequence[Record]) -> dict[str, Any]:
    out = {}
    if any("type_match" in r["parts"] for r in graded):
        out["type_match"] = _mean(graded, lambda r: r["parts"].get("type_match") or 0)
        pointed = [r for r in graded if r["parts"].get("grounding") is not None]
        if pointed:
            out["grounding_given_type"] = _mean(pointed, lambda r: r["parts"]["grounding"])
    if any("op_f1" in r["parts"] for r in graded):
        out["op_f1"] = _mean(graded, lambda r: r["parts"].get("op_f1") or 0)
        out["element"] = _mean(graded, lambda r: bool(r["parts"].get("element", r["parts"].get("element_match"))))
    return out


def breakdown_text(summary: Mapping[str, Any]) -> str:
    """The breakdowns of a summary's rows as Markdown tables, one per task and key; empty where there are none."""
    from tabulate import tabulate

    parts = []
    for task in summary["rows"][0]["tasks"] if summary["rows"] else ():
        rows = [(r, r["tasks"][task]) for r in summary["rows"]]
        tables: dict[str, dict[str, Any]] = {}
        for _, entry in rows:
            for key, values in {**entry.get("breakdown", {}), "measure": entry.get("measures", {})}.items():
                tables.setdefault(key, {}).update(dict.fromkeys(values))
        for key, values in tables.items():
            if not values:
                continue
            lines = []
            for row, entry in rows:
                found = entry.get("measures", {}) if key == "measure" else entry.get("breakdown", {}).get(key, {})
                lines.append([row.get("label", row["method"]), row["budget"], *(_shown(found.get(v)) for v in values)])
            parts.append(
                f"\n## {task}: by {key}\n\n"
                + tabulate(lines, headers=["method", "budget", *values], tablefmt="github", disable_numparse=True)
            )
    return "\n".join(parts)


def _shown(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return f"{100 * entry['accuracy']:.1f} {shown(entry['ci95'])} (n={entry['n']})"
