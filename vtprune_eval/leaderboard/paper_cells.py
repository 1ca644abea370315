"""From a cell of a paper's table to the runs that measure it here, and from their records to its value."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..models import MODELS
from ..registry import method_names
from ..results.folder import Run
from ..results.summary import costs_of
from ..tasks import task_names

MODEL_NAMES = {
    "Qwen3-VL-2B": "qwen3vl-2b", "Qwen3-VL-4B": "qwen3vl-4b", "Qwen3-VL-8B": "qwen3vl-8b",
    "Qwen2.5-VL-3B": "qwen2.5vl-3b", "Qwen2.5-VL-7B": "qwen2.5vl-7b", "UI-TARS-1.5-7B": "uitars-1.5-7b",
}
METHOD_NAMES = {
    "Full": "full", "PixelPrune": "pixelprune", "Resize": "resize", "Random": "random", "ConnComp": "conncomp",
    "FastV": "fastv", "HiPrune": "hiprune", "VisionZip": "visionzip", "DivPrune": "divprune", "SnapKV": "snapkv",
    "PyramidKV": "pyramidkv", "VL-Cache": "vlcache", "GUI-KV": "guikv", "FocusUI": "focusui", "GUIPruner": "guipruner",
}
_PRO = {"Dev": "Development", "Creative": "Creative", "CAD": "CAD", "Scientific": "Scientific", "Office": "Office",
        "OS": "OS"}
_PRO_TASKS = tuple(f"ScreenSpot_Pro_{name}" for name in _PRO.values())
_V2_TASKS = tuple(f"ScreenSpot_v2_{name}" for name in ("Web", "Mobile", "Desktop"))
# Metric to the tasks whose accuracy it is. An average over several is of samples, or of tasks where the paper says so.
ACCURACIES: dict[str, tuple[str, ...]] = {
    "DocVQA": ("DocVQA_VAL",), "InfoVQA": ("InfoVQA_VAL",), "ChartQA": ("ChartQA_TEST",), "OCRBench": ("OCRBench",),
    "AI2D": ("AI2D_TEST",), "MMLongBench-Doc": ("MMLongBench_DOC",), "OSWorld-G-Avg": ("OSWorld_G",),
    **{f"SSv2-{name}": (f"ScreenSpot_v2_{name}",) for name in ("Web", "Mobile", "Desktop")},
    **{f"SSPro-{short}": (f"ScreenSpot_Pro_{name}",) for short, name in _PRO.items()},
    "SSv2-Avg": _V2_TASKS, "SSPro-Avg": _PRO_TASKS,
}
BENCHMARKS = {"MMLongBench-Doc": ("MMLongBench_DOC",), "ScreenSpot-Pro Scientific": ("ScreenSpot_Pro_Scientific",),
              "ScreenSpot-Pro": _PRO_TASKS}
# Cost metrics: from the aggregates of a cell (:func:`~vtprune_eval.results.summary.costs_of`) to the paper's unit.
COSTS: dict[str, tuple[str, float]] = {
    "selector_ms": ("select_ms", 1.0), "vit_latency_ms": ("vit_ms", 1.0), "vision_encoder_ms": ("vit_ms", 1.0),
    "ttft_ms": ("ttft_ms", 1.0), "prefill_ms": ("prefill_ms", 1.0), "time_per_sample_s": ("e2e_ms", 1e-3),
    "kv_cache_gb": ("kv_bytes", 1e-9), "peak_memory_mb": ("peak_bytes", 1e-6), "gpu_memory_mb": ("peak_bytes", 1e-6),
    "visual_tokens": ("visual_tokens", 1.0), "prefill_tflops": ("flops_prefill", 1e-12),
    "flops_speedup": ("flops_ratio", 1.0), "ttft_speedup": ("speedup_ttft", 1.0),
}
_TRAINED = "needs weights that the paper's authors trained"


@dataclass(frozen=True)
class Plan:
    """How a cell can be measured.

    Attributes:
        runs: settings of each run (as on the command line, with ``out``), one per task; () where it cannot be.
        method, budget: of the cell in those runs.
        why_not: the reason where ``runs`` is empty.
    """

    runs: tuple[dict[str, Any], ...] = ()
    method: str = ""
    budget: str = ""
    why_not: str = ""


def plan(paper: str, row: dict[str, Any], metric: str, device: str, root: Path) -> Plan:
    """The runs for one cell.

    Args:
        paper: whose table; row, metric: the cell; device: torch device of the runs; root: folder of the run folders.
    """
    settings = row.get("settings") or {}
    model, method = MODEL_NAMES.get(str(row["model"])), METHOD_NAMES.get(row["method"])
    if model is None or model not in MODELS:
        trained = "fine-tuned" in str(row["model"]) or str(row["model"]).startswith("FocusUI")
        return Plan(why_not=_TRAINED if trained else f"no adapter for {row['model'] or 'an unnamed model'}")
    if method is None or method not in method_names():
        return Plan(why_not=f"no method {row['method']}")
    if settings.get("training", "training-free") != "training-free" or (
            "gui_training" in settings and metric.startswith("SS")):
        return Plan(why_not=_TRAINED)
    if "prune_position" in settings and settings["prune_position"] != "Before ViT":
        return Plan(why_not="the mask is applied inside the ViT, which no hook does")
    tasks = ACCURACIES.get(metric) or (BENCHMARKS.get(str(settings.get("benchmark"))) if metric in COSTS else None)
    if tasks is None or any(t not in task_names() for t in tasks):
        return Plan(why_not="no task measures this")
    budget = _budget(paper, row, method)
    if budget is None:
        return Plan(why_not="the paper does not state one retention for this row")
    params = _params(method, settings)
    runs = []
    for task in tasks:
        # Ratios and paired comparisons need full on the same samples, so every run holds it, too.
        asked: dict[str, Any] = {
            "model": model, "methods": ["full"] if method == "full" else ["full", method],
            "budgets": ["auto" if method == "full" else budget], "tasks": [task], "dtype": "bfloat16", "device": device,
            "params": params,
        }
        mark = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:6]
        name = f"{model}--{method}--{task}-{mark}"
        runs.append({**asked, "out": str(root / name)})
    return Plan(tuple(runs), method, "100" if method == "full" else budget)


def _budget(paper: str, row: dict[str, Any], method: str) -> str | None:
    if method == "full":
        return "100"
    if paper == "PixelPrune":  # its baselines copy its count, per image; its own count follows from tau
        return "auto" if method == "pixelprune" else "like:pixelprune"
    return None if row.get("retain_pct") is None else f"{row['retain_pct']:g}"


def _params(method: str, settings: dict[str, Any]) -> dict[str, str]:
    if method != "pixelprune":
        return {}
    out = {}
    if "predictor" in settings:
        out["pixelprune.predictor"] = str(settings["predictor"]).replace("-", "_")
    if settings.get("metric", "exact") != "exact":  # exact matching is tau = 0 under any distance
        out["pixelprune.metric"] = str(settings["metric"])
    if settings.get("tau"):
        out["pixelprune.tau"] = f"{settings['tau']:g}"
    return out


def command(run: dict[str, Any]) -> str:
    """The command line of a run."""
    parts = ["python -m vtprune_eval"]
    for option, key in (("model", "model"), ("method", "methods"), ("budget", "budgets"), ("tasks", "tasks")):
        value = run[key]
        parts.append(f"--{option} {shlex.quote(','.join(value) if isinstance(value, list) else value)}")
    parts += [f"--set {shlex.quote(f'{k}={v}')}" for k, v in run["params"].items()]
    parts += [f"--{key} {shlex.quote(run[key])}" for key in ("dtype", "device", "out")]
    return " ".join(parts)


def measured(paper: str, found: Plan, metric: str, read: Callable[[Path], Run | None]) -> float | None:
    """The value of a cell from finished runs, in the paper's unit; None while a run is missing.

    Args:
        read: run folder to run, None where it is absent or half done.
    """
    groups = []
    for asked in found.runs:
        run = read(Path(asked["out"]))
        if run is None:
            return None
        own, full = (list(run.records[asked["tasks"][0], m, b].values())
                     for m, b in ((found.method, _canonical(run, found)), ("full", "100")))
        groups.append((own, full))
    if not groups:
        return None
    if metric in ACCURACIES:
        scores = [[r["score"] for r in own if r["score"] is not None] for own, _ in groups]
        if not all(scores):
            return None
        # PixelPrune averages the benchmark's parts, FocusUI and the others all samples.
        flat = [float(np.mean(s)) for s in scores] if paper == "PixelPrune" else [v for s in scores for v in s]
        return 100 * float(np.mean(flat))
    name, unit = COSTS[metric]
    own, full = ([r for g in groups for r in g[i]] for i in (0, 1))
    if name == "flops_prefill":
        done = [r["flops"]["total_prefill"] for r in own if r["status"] == "ok"]
        return float(np.mean(done)) * unit if done else None
    value = costs_of(own, full).get(name)
    return None if value is None else value * unit


def _canonical(run: Run, found: Plan) -> str:
    """The cell's budget as the run wrote it."""
    return next(c.budget for c in run.spec.cells() if c.method == found.method)
