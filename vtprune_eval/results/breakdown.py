"""What the authors of a benchmark print beside one accuracy: groups, action types, grounding given the right type.

Everything is computed from records, failed ones included: a sample that could not be run is wrong in every group it
belongs to. The order of the records does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..benchmarks.protocols import agentnetbench, gui_odyssey, mind2web, osworld_g, screenspot, ui_vision
from ..benchmarks.verdict import Verdict
from .stats import mean_interval, shown, stated

Record = Mapping[str, Any]

# Breakdown keys of the samples' meta, per benchmark.
GROUPS: dict[str, tuple[str, ...]] = {
    "aitw": ("subset", "action_type"),
    "androidcontrol": ("action_type",),
    "gui_odyssey": ("category", "device", "action_type"),
    "agentnetbench": ("domain", "system", "action_type"),
    "mind2web": ("domain", "action_type"),
    "screenspot": ("platform", "target_kind"),
    "screenspot_v2": ("platform", "target_kind"),
    "screenspot_pro": ("group", "platform", "target_kind"),
    "osworld_g": ("box_type", "categories"),
    "ui_vision": ("subset", "element_type"),
}


def breakdown(benchmark: str, records: Sequence[Record]) -> dict[str, Any]:
    """Groups, secondary measures and the authors' own aggregate.

    Args:
        benchmark: key of ``GROUPS``; an unknown or empty one gives {}.
        records: of one task and cell.

    Returns:
        ``{"breakdown": {key: {value: {"n", "accuracy", "ci95"}}}, "measures": {name: {"n", "accuracy", "ci95"}},
        "authors": {...}}``. ``measures``: ``type_match``, ``grounding_given_type``, ``op_f1`` where the rule has them;
        ``authors``: the aggregate that the benchmark's papers print.
    """
    graded = sorted((r for r in records if r["score"] is not None), key=lambda r: r["id"])
    if benchmark not in GROUPS or not graded:
        return {}
    out: dict[str, Any] = {}
    for key in GROUPS[benchmark]:
        groups: dict[str, list[Record]] = {}
        for r in graded:
            values = r["meta"].get(key)
            for value in values if isinstance(values, list) else [values]:
                if value not in (None, ""):
                    groups.setdefault(str(value), []).append(r)
        if groups:
            out[key] = {v: _mean(groups[v], lambda r: r["score"]) for v in sorted(groups)}
    return {"breakdown": out, "measures": _measures(graded), "authors": _AUTHORS[benchmark](graded)}


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


def _share(records: Sequence[Record]) -> float:
    return float(sum(r["score"] for r in records) / len(records))


def _by(records: Sequence[Record], key: str) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for r in records:
        groups.setdefault(str(r["meta"].get(key)), []).append(r)
    return groups


def _episodes(records: Sequence[Record]) -> float:
    """Share of episodes whose present steps are all right."""
    right: dict[str, bool] = {}
    for r in records:
        cluster = r["cluster"] or r["id"]
        right[cluster] = right.get(cluster, True) and r["score"] == 1
    return sum(right.values()) / len(right)


def _aitw(records: Sequence[Record]) -> dict[str, Any]:
    subsets = {k: _share(v) for k, v in sorted(_by(records, "subset").items())}
    return {
        "mean_over_subsets": sum(subsets.values()) / len(subsets),
        "subsets": subsets,
        "episode_success": _episodes(records),
    }


def _androidcontrol(records: Sequence[Record]) -> dict[str, Any]:
    pointed = [r for r in records if r["meta"].get("action_type") in ("click", "long_press", "type_text")]
    rest = [r for r in records if r["meta"].get("action_type") != "open_app"]
    return {
        "step_accuracy": _share(records),
        "grounding_accuracy": _share(pointed) if pointed else None,
        "without_open_app": _share(rest) if rest else None,
        "episode_success": _episodes(records),
    }


def _odyssey(records: Sequence[Record]) -> dict[str, Any]:
    rows = [
        {
            "episode": r["id"],
            "category": r["meta"].get("category"),
            "step_length": r["meta"].get("step_length"),
            "verdict": Verdict(r["score"], r["reason"], {"info": r["parts"].get("info", "invalid")}),
        }
        for r in records
    ]
    return {kind: gui_odyssey.official_report(rows, kind) for kind in ("macro", "micro")}


def _agentnetbench(records: Sequence[Record]) -> dict[str, Any]:
    return agentnetbench.report(
        {
            "trajectory": r["cluster"],
            "verdict": Verdict(r["score"], r["reason"], r["parts"]),
            "milestone": r["meta"].get("milestone"),
            "domain": r["meta"].get("domain"),
            "action_type": r["meta"].get("action_type") or "",
        }
        for r in records
    )


def _mind2web(records: Sequence[Record]) -> dict[str, Any]:
    tasks: dict[str, list[Record]] = {}
    for r in records:
        tasks.setdefault(str(r["cluster"]), []).append(r)
    categories = {"CLICK": 4, "HOVER": 4, "ENTER": 4, "TYPE": 3, "SELECT": 2}
    steps = [
        [
            {
                "element": bool(r["parts"].get("element", r["parts"].get("element_match"))),
                "op_f1": r["parts"].get("op_f1") or 0.0,
                "category": categories.get(r["meta"].get("action_type", ""), 4),
            }
            for r in rows
        ]
        for rows in tasks.values()
    ]
    if any(r["meta"].get("total_steps") for r in records):  # UGround's samples
        totals = [max(int(r["meta"].get("total_steps") or 0) for r in rows) for rows in tasks.values()]
        return mind2web.guikv_report([{"steps": s, "total_steps": n} for s, n in zip(steps, totals, strict=True)])
    return mind2web.seeclick_report(steps)


def _screenspot(records: Sequence[Record]) -> dict[str, Any]:
    return screenspot.groups_report(
        [
            {"platform": r["meta"].get("platform"), "data_type": r["meta"].get("target_kind"), "score": r["score"]}
            for r in records
        ]
    )


def _pro(records: Sequence[Record]) -> dict[str, Any]:
    return screenspot.pro_report(
        [
            {
                "correctness": r["parts"].get("correctness") or ("correct" if r["score"] == 1 else "wrong"),
                "ui_type": r["meta"].get("target_kind"),
                **{k: r["meta"].get(k) for k in ("group", "application", "platform")},
            }
            for r in records
        ]
    )


def _osworld(records: Sequence[Record]) -> dict[str, Any]:
    return osworld_g.report(
        [
            {
                "correct": r["score"] == 1,
                "box_type": r["meta"].get("box_type"),
                "categories": r["meta"].get("categories") or (),
            }
            for r in records
        ]
    )


def _ui_vision(records: Sequence[Record]) -> dict[str, Any]:
    return ui_vision.subsets_report(
        {
            subset: [{"correctness": r["parts"].get("correctness") or "wrong"} for r in rows]
            for subset, rows in sorted(_by(records, "subset").items())
        }
    )


_AUTHORS: dict[str, Callable[[Sequence[Record]], dict[str, Any]]] = {
    "aitw": _aitw,
    "androidcontrol": _androidcontrol,
    "gui_odyssey": _odyssey,
    "agentnetbench": _agentnetbench,
    "mind2web": _mind2web,
    "screenspot": _screenspot,
    "screenspot_v2": _screenspot,
    "screenspot_pro": _pro,
    "osworld_g": _osworld,
    "ui_vision": _ui_vision,
}


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
                lines.append([row["method"], row["budget"], *(_shown(found.get(v)) for v in values)])
            parts.append(
                f"\n## {task}: by {key}\n\n"
                + tabulate(lines, headers=["method", "budget", *values], tablefmt="github", disable_numparse=True)
            )
    return "\n".join(parts)


def _shown(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return f"{100 * entry['accuracy']:.1f} {shown(entry['ci95'])} (n={entry['n']})"
