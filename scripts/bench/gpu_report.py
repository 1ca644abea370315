"""Tables of ``gpu.py``: ratios to ``full`` with intervals, and the papers' headline numbers beside measured ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DRAWS = 1000  # of the bootstrap
# arXiv 2601.03928, abstract; its Table 6 (1.75 s to 1.22 s, 20,994 MB to 17,392 MB) gives 1.43x and 17.2 %.
FOCUSUI_SPEEDUP, FOCUSUI_MEMORY_PCT = 1.44, 17.0
COARSE_SECONDS = 1.0  # a GPU's energy counter moves in steps of up to a tenth of a second
NEAR = 3  # calls of full before and after a cell that its times are compared with
SLACK = 1.05  # a TTFT ratio may exceed the FLOPs' by so much before it is marked


def interval(full: Sequence[float], own: Sequence[float]) -> list[float] | None:
    """Ratio of medians full / own with its 95 % bootstrap interval: ``[ratio, low, high]``; None without numbers."""
    a, b = np.asarray(full, float), np.asarray(own, float)
    if not len(a) or not len(b) or np.isnan(a).any() or np.isnan(b).any() or np.median(b) <= 0:
        return None
    rng = np.random.default_rng(0)
    top = np.median(a[rng.integers(0, len(a), (DRAWS, len(a)))], 1)
    under = np.median(b[rng.integers(0, len(b), (DRAWS, len(b)))], 1)
    if (under <= 0).any():
        return None
    return [float(np.median(a) / np.median(b)), *(float(x) for x in np.percentile(top / under, [2.5, 97.5]))]


def add_ratios(rows: list[dict[str, Any]], full: dict[str, list[Any]]) -> None:
    """Put ``ratios`` to ``full`` into every row of a group.

    Times are compared with the calls of ``full`` nearest to the cell, so that a GPU that warms up or slows down over
    minutes does not shift them.

    Args:
        rows: of one model and backend.
        full: outcomes of ``full`` per workload, in the order of the calls.
    """
    bases = {r["workload"]: r for r in rows if r["method"] == "full"}
    for row in rows:
        base = bases.get(row["workload"])
        if base is None:
            continue
        if row is base:
            pooled = [o.times.ttft_ms for o in full[row["workload"]]]
            third = max(1, len(pooled) // 3)
            row["n_pooled"] = len(pooled)
            row["drift_ttft_ms"] = [float(np.median(pooled[:third])), float(np.median(pooled[-third:]))]
            continue
        at = row["full_call"]
        calls = [o.times for o in full[row["workload"]][max(0, at - NEAR) : at + NEAR + 1]]
        stages = {k: interval([getattr(t, k) for t in calls], row["samples_ms"][k]) for k in row["samples_ms"]}
        flops, own = base["flops"], row["flops"]
        vit = [k for k in flops if k.startswith(("patch_embed", "vit_", "merger", "deepstack"))]
        row["ratios"] = {
            **stages,
            "flops_prefill": flops["total_prefill"] / own["total_prefill"],
            "flops_vit": sum(flops[k] for k in vit) / sum(own[k] for k in vit),
            "flops_decode": flops["decode"] / own["decode"] if own["decode"] else None,
            "peak_bytes": base["peak_bytes"] / row["peak_bytes"],
            "kv_bytes": base["kv_bytes"] / row["kv_bytes"],
            "energy_j": (base["energy_j"] / row["energy_j"] if base["energy_j"] and row["energy_j"] else None),
        }
        measured = row["ratios"]["ttft_ms"]
        row["above_flops_bound"] = bool(measured and measured[1] > SLACK * row["ratios"]["flops_prefill"])


def _printed(folder: Path, name: str, **wanted: Any) -> dict[str, Any]:
    """The metrics of one row of a paper's table (``leaderboards/papers``)."""
    rows = json.loads((folder / f"{name}.json").read_text())["rows"]
    return next(
        r["metrics"] for r in rows if all({**r, **r.get("settings", {})}.get(k) == v for k, v in wanted.items())
    )


def headlines(rows: list[dict[str, Any]], papers: Path) -> list[dict[str, Any]]:
    """The papers' headline ratios, each beside every measured cell that is its counterpart.

    Args:
        rows: measured cells with their ratios.
        papers: folder of the papers' tables.

    Returns:
        per claim ``paper``, ``claim``, ``printed`` (number), ``unit`` (``x`` or ``%`` less), ``setting`` and
        ``measured``: a list of ``model``, ``attention``, ``value``, ``interval``, empty where nothing was measured.
    """
    pixel = _printed(papers, "pixelprune_table4", benchmark="ScreenSpot-Pro Scientific", method="PixelPrune")
    gui = _printed(papers, "guipruner_efficiency_secondary", method="GUIPruner")
    kv = _printed(papers, "guikv_abstract", method="GUI-KV")
    scene = {
        "pixelprune": "Qwen3-VL-2B, H20, 26.2 % kept before the ViT",
        "guipruner": "Qwen2-VL-2B, RTX 4090, 4 earlier screenshots, 10 % of them and 75 % of the current one",
        "guikv": "five screenshots, budget not printed (40 % by a secondary reading)",
        "focusui": "FocusUI-7B, 30 % kept",
    }
    claims: list[tuple[str, str, str, float, str]] = [
        ("pixelprune", "TTFT", "ttft_ms", pixel["ttft_speedup"], "x"),
        ("pixelprune", "FLOPs to the first token", "flops_prefill", pixel["flops_speedup"], "x"),
        ("guipruner", "FLOPs to the first token", "flops_prefill", gui["flops_speedup"], "x"),
        ("guipruner", "time of the vision encoder", "vit_ms", gui["vision_encoder_speedup"], "x"),
        ("guikv", "FLOPs of decoding", "flops_decode", kv["decode_flops_reduction_pct"], "% less"),
        ("focusui", "time per sample (TTFT here)", "ttft_ms", FOCUSUI_SPEEDUP, "x"),
        ("focusui", "peak memory", "peak_bytes", FOCUSUI_MEMORY_PCT, "% less"),
    ]
    out = []
    for key, claim, name, printed, unit in claims:
        measured = []
        for row in rows:
            ratio = row.get("ratios", {}).get(name) if row["headline"] == key else None
            if ratio is None:
                continue
            values = list(ratio) if isinstance(ratio, list) else [ratio]
            if unit == "% less":
                values = [100 * (1 - 1 / v) for v in values]
            measured.append(
                {
                    "model": row["model"],
                    "attention": row["attention"],
                    "value": values[0],
                    "interval": values[1:],
                    "kept_pct": row["visual_kept_pct"],
                }
            )
        out.append(
            {
                "paper": key,
                "claim": claim,
                "printed": printed,
                "unit": unit,
                "setting": scene[key],
                "measured": measured,
            }
        )
    return out


def markdown(data: dict[str, Any]) -> str:
    """Both tables and what is missing, as Markdown."""
    from tabulate import tabulate

    env, settings = data["environment"], data["settings"]
    lines = ["# Time, memory and energy with random weights", ""]
    if not env.get("is_gpu"):
        lines += ["**Rehearsal on a CPU: these numbers say nothing about a GPU.**", ""]
    state = env.get("gpu") or {}
    lines += [
        f"{env.get('device')}, driver {state.get('driver')}, torch {env.get('torch')} (CUDA {env.get('cuda')}), "
        f"transformers {env.get('transformers')}, {settings['dtype']}, batch 1, {settings['new_tokens']} new "
        "tokens, random weights, so no accuracy. Medians; ratios of medians to full with 95 % intervals; up to "
        "three warm-up calls per cell.",
        "",
    ]
    lines += [f"**Disturbed: {warning}.**" for warning in state.get("warnings", [])]
    if not state:
        lines += [f"No energy or GPU state: {env.get('gpu_reason')}.", ""]
    lines += ["## The papers' headlines", ""]
    table = []
    for h in data["headlines"]:
        found = "; ".join(_headline(m, h["unit"]) for m in h["measured"]) or "-"
        table.append([h["paper"], h["claim"], f"{h['printed']:g}{_unit(h['unit'])}", h["setting"], found])
    lines += [
        tabulate(
            table,
            ["paper", "claim", "printed", "printed for", "measured here"],
            tablefmt="github",
            disable_numparse=True,
        ),
        "",
    ]
    groups = list(dict.fromkeys((r["model"], r["attention"], r["workload"]) for r in data["rows"]))
    for model, attention, workload in groups:
        shape = (
            f"one {settings['image'][0]}x{settings['image'][1]} screenshot"
            if workload == "screen"
            else f"{settings['frames']} screenshots of {settings['frame'][0]}x{settings['frame'][1]}"
        )
        own = [r for r in data["rows"] if (r["model"], r["attention"], r["workload"]) == (model, attention, workload)]
        lines += [
            f"## {model}, {attention}: {shape}, {own[0]['prompt_tokens']} prompt tokens",
            "",
            tabulate([_line(r) for r in own], _HEADS, tablefmt="github", disable_numparse=True),
            "",
        ]
        lines += [_drift(r) + "\n" for r in own if "drift_ttft_ms" in r]
        if any(_joules(r).startswith("~") for r in own):
            lines += ["~: energy over less than a second of calls.", ""]
        if any(r.get("above_flops_bound") for r in own):
            lines += ["(!) Faster than its FLOPs explain: to be explained before it is quoted.", ""]
    if data["not_measured"]:
        reasons: dict[tuple[str, str, str], list[str]] = {}
        for m in data["not_measured"]:
            reasons.setdefault((m["model"], m["attention"], m["reason"]), []).append(m["what"])
        lines += ["## Not measured", ""]
        lines += [
            f"- {model}, {attention}: {', '.join(what)}: {reason}"
            for (model, attention, reason), what in reasons.items()
        ]
    return "\n".join(lines).rstrip() + "\n"


_HEADS = (
    "method",
    "budget",
    "visual kept %",
    "TTFT ms",
    "ViT ms",
    "select ms",
    "prefill ms",
    "ms / token",
    "peak MB",
    "KV MB",
    "J",
    "TTFT ratio",
    "FLOPs ratio",
    "calls",
)


def _line(row: dict[str, Any]) -> list[str]:
    t = {k: v["median"] for k, v in row["times"].items()}
    ratios = row.get("ratios")
    ttft = "-" if not ratios or not ratios["ttft_ms"] else "{:.2f}x [{:.2f}, {:.2f}]".format(*ratios["ttft_ms"])
    mark = " (!)" if row.get("above_flops_bound") else ""
    extra = f" {row['params']}" if row["params"] else ""
    return [
        row["method"] + extra,
        "-" if row["method"] == "full" else row["budget"] + (" (paper)" if row.get("reading") == "paper" else ""),
        f"{row['visual_kept_pct']:.1f}",
        *(f"{t[k]:.1f}" for k in ("ttft_ms", "vit_ms", "select_ms", "prefill_ms", "tpot_ms")),
        f"{row['peak_bytes'] / 1e6:.0f}",
        f"{row['kv_bytes'] / 1e6:.1f}",
        _joules(row),
        ttft + mark,
        "-" if not ratios else f"{ratios['flops_prefill']:.2f}x",
        str(row["n_calls"]),
    ]


def _joules(row: dict[str, Any]) -> str:
    if row["energy_j"] is None:
        return "-"
    return f"{'~' if row['window_s'] < COARSE_SECONDS else ''}{row['energy_j']:.1f}"


def _drift(row: dict[str, Any]) -> str:
    early, late = row["drift_ttft_ms"]
    return (
        f"full was called {row['n_pooled']} times over the whole time: TTFT {early:.1f} ms in the first third, "
        f"{late:.1f} ms in the last."
    )


def _headline(m: dict[str, Any], unit: str) -> str:
    span = f" [{m['interval'][0]:.2f}, {m['interval'][1]:.2f}]" if m["interval"] else ""
    return f"{m['value']:.2f}{_unit(unit)}{span} ({m['model']}, {m['attention']}, {m['kept_pct']:.1f} % kept)"


def _unit(unit: str) -> str:
    return unit if unit == "x" else f" {unit}"
