"""From a cell of a paper's table to the runs that measure it here, and from their records to its value."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..benchmarks.definitions import task_names
from ..models import MODELS
from ..registry import method_names
from ..results.costs import costs_over
from ..runner.folder import Run
from . import paper_training
from .paper_data import Asked, PaperRow, PaperSettings, PaperTable

MODEL_NAMES = {
    "Qwen3-VL-2B": "qwen3vl-2b",
    "Qwen3-VL-4B": "qwen3vl-4b",
    "Qwen3-VL-8B": "qwen3vl-8b",
    "Qwen2.5-VL-3B": "qwen2.5vl-3b",
    "Qwen2.5-VL-7B": "qwen2.5vl-7b",
    "UI-TARS-1.5-7B": "uitars-1.5-7b",
    "Qwen3.5-2B": "qwen3.5-2b",
    "Qwen3.5-4B": "qwen3.5-4b",
    "Qwen3.5-9B": "qwen3.5-9b",
    "OpenCUA-7B": "opencua-7b",
    "FocusUI-3B": "focusui-3b",
    "FocusUI-7B": "focusui-7b",
    "FocusUI-Qwen3-VL-2B": "focusui-qwen3vl-2b",
}
METHOD_NAMES = {
    "Full": "full",
    "PixelPrune": "pixelprune",
    "Resize": "resize",
    "Random": "random",
    "ConnComp": "conncomp",
    "FastV": "fastv",
    "HiPrune": "hiprune",
    "VisionZip": "visionzip",
    "DivPrune": "divprune",
    "SnapKV": "snapkv",
    "PyramidKV": "pyramidkv",
    "VL-Cache": "vlcache",
    "GUI-KV": "guikv",
    "FocusUI": "focusui",
    "GUIPruner": "guipruner",
}
_PRO = {
    "Dev": "Development",
    "Creative": "Creative",
    "CAD": "CAD",
    "Scientific": "Scientific",
    "Office": "Office",
    "OS": "OS",
}
_PRO_TASKS = tuple(f"ScreenSpot_Pro_{name}" for name in _PRO.values())
_V2_TASKS = tuple(f"ScreenSpot_v2_{name}" for name in ("Web", "Mobile", "Desktop"))
_DOCUMENTS = {
    "OCRBench": "OCRBench",
    "DocVQA": "DocVQA_VAL",
    "InfoVQA": "InfoVQA_VAL",
    "ChartQA": "ChartQA_TEST",
    "AI2D": "AI2D_TEST",
    "MMLongBench-Doc": "MMLongBench_DOC",
    "olmOCRBench": "olmOCRBench",
}
# Metric to the tasks whose accuracy it is. An average over several is of samples, or of tasks where the paper says so.
ACCURACIES: dict[str, tuple[str, ...]] = {
    **{name: (task,) for name, task in _DOCUMENTS.items()},
    "OSWorld-G-Avg": ("OSWorld_G",),
    "Avg": tuple(_DOCUMENTS.values()),  # PixelPrune's Table 1: the plain mean of its seven benchmarks
    **{f"SSv2-{name}": (f"ScreenSpot_v2_{name}",) for name in ("Web", "Mobile", "Desktop")},
    **{f"SSPro-{short}": (f"ScreenSpot_Pro_{name}",) for short, name in _PRO.items()},
    "SSv2-Avg": _V2_TASKS,
    "SSPro-Avg": _PRO_TASKS,
}
# Questions per task, several of which may share an image: published sizes of the splits (VLMEvalKit 0.0.20 for
# documents, arXiv 2504.07981 and 2410.23218 for ScreenSpot-Pro and v2).
QUESTIONS = {
    "OCRBench": 1000,
    "DocVQA_VAL": 5349,
    "InfoVQA_VAL": 2801,
    "ChartQA_TEST": 2500,
    "AI2D_TEST": 3088,
    "MMLongBench_DOC": 1082,
    "olmOCRBench": 1403,
    "ScreenSpot_v2_Web": 437,
    "ScreenSpot_v2_Mobile": 501,
    "ScreenSpot_v2_Desktop": 334,
    "ScreenSpot_Pro_Development": 299,
    "ScreenSpot_Pro_Creative": 341,
    "ScreenSpot_Pro_CAD": 261,
    "ScreenSpot_Pro_Scientific": 254,
    "ScreenSpot_Pro_Office": 230,
    "ScreenSpot_Pro_OS": 196,
}
BENCHMARKS = {
    "MMLongBench-Doc": ("MMLongBench_DOC",),
    "ScreenSpot-Pro Scientific": ("ScreenSpot_Pro_Scientific",),
    "ScreenSpot-Pro": _PRO_TASKS,
}
# Cost metrics: from the aggregates of a cell (:func:`~vtprune_eval.results.costs.costs_over`) to the paper's unit.
COSTS: dict[str, tuple[str, float]] = {
    "selector_ms": ("select_ms", 1.0),
    "vit_latency_ms": ("vit_ms", 1.0),
    "vision_encoder_ms": ("vit_ms", 1.0),
    "ttft_ms": ("ttft_ms", 1.0),
    "prefill_ms": ("prefill_ms", 1.0),
    "time_per_sample_s": ("e2e_ms", 1e-3),
    "kv_cache_gb": ("kv_bytes", 1e-9),
    "peak_memory_mb": ("peak_bytes", 1e-6),
    "gpu_memory_mb": ("peak_bytes", 1e-6),
    "visual_tokens": ("visual_tokens", 1.0),
    "visual_kept_pct": ("visual_kept_pct", 1.0),
    "prefill_tflops": ("flops_prefill", 1e-12),
    "flops_speedup": ("flops_ratio", 1.0),
    "ttft_speedup": ("speedup_ttft", 1.0),
}
# Blocks of the 24 that see every patch, by the position of Table 7: the counts that give its column of saved FLOPs
# (its names would make the last two one more).
# The released code's own numbers. The shares of saved FLOPs that the text prints (96, 83, 29 %) are those of 1, 4 and
# 17 blocks; at 17 the third DeepStack level would come from pruned tokens, which the released code refuses.
VIT_BLOCKS = {"Before ViT": 0, "After 0th": 1, "After 4th": 5, "After 17th": 18, "After ViT": 24}
_TRAINED = "needs weights that the paper's authors trained"


@dataclass(frozen=True)
class Plan:
    """How a cell can be measured.

    Attributes:
        runs: settings of each run (as on the command line, with ``out``), one per task; () where it cannot be.
        method: of the cell in those runs; each run has one budget.
        why_not: the reason where ``runs`` is empty.
    """

    runs: tuple[Asked, ...] = ()
    method: str = ""
    why_not: str = ""


def plan(data: PaperTable, row: PaperRow, metric: str, device: str, root: Path) -> Plan:
    """The runs for one cell.

    Rows of one model that differ in the method only share a run per task, so that ``full`` is run once for them.

    Args:
        data: the table.
        row: the cell.
        metric: the cell.
        device: torch device of the runs.
        root: folder of the run folders.
    """
    trained = paper_training.is_trained(data)
    if trained and metric not in ACCURACIES:
        return Plan(method=METHOD_NAMES[row["method"]])  # read from the trainings' own summaries
    why_not = "" if trained else _obstacle(row, metric)
    settings = row.get("settings", {})
    tasks = ACCURACIES.get(metric) or (BENCHMARKS.get(str(settings.get("benchmark"))) if metric in COSTS else None)
    if not why_not and (tasks is None or any(t not in task_names() for t in tasks)):
        why_not = "no task measures this"
    if why_not or tasks is None:
        return Plan(why_not=why_not)
    if trained:
        return _plan_trained(row, tasks, device, root)
    model, method = MODEL_NAMES[str(row["model"])], METHOD_NAMES[row["method"]]
    # Of other rows of the model, those that can be measured for this metric.
    others = [
        r
        for r in data["rows"]
        if r["model"] == row["model"]
        and r["method"] != "Full"
        and not _obstacle(r, metric)
        and _budget(data["paper"], r) is not None
    ]
    if method == "full":
        budget, params = _group(data["paper"], others[0]) if others else ("100", {})
    else:
        own = _budget(data["paper"], row)
        if own is None:
            return Plan(why_not="the paper does not state one retention for this row")
        budget, params = own, _params(method, settings)
    assert budget is not None  # of the others, each has one
    methods = list(
        dict.fromkeys(METHOD_NAMES[r["method"]] for r in others if _group(data["paper"], r) == (budget, params))
    )
    runs: list[Asked] = []
    for task in tasks:
        asked: Asked = {
            "model": model,
            "methods": ["full", *methods],
            "budgets": [budget],
            "tasks": [task],
            "reading": "paper",
            "dtype": "bfloat16",
            "device": device,
            "params": params,
        }
        mark = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:6]
        runs.append({**asked, "out": str(root / f"{model}--{task}-{mark}")})
    return Plan(tuple(runs), method)


def _plan_trained(row: PaperRow, tasks: tuple[str, ...], device: str, root: Path) -> Plan:
    """Runs of a model that is trained here first, with all tokens and with PixelPrune's."""
    arm, step = paper_training.needed(row), row.get("settings", {}).get("step")
    runs: list[Asked] = []
    for task in tasks:
        asked: Asked = {
            "model": paper_training.MODEL,
            "model_path": str(paper_training.folder_of(root, arm, step)),
            "methods": ["full", "pixelprune"],
            "budgets": ["auto"],
            "tasks": [task],
            "reading": "paper",
            "dtype": "bfloat16",
            "device": device,
            "params": {},
        }
        runs.append({**asked, "out": str(root / f"scratch-{arm}-{step or paper_training.STEPS}--{task}")})
    return Plan(tuple(runs), METHOD_NAMES[row["method"]])


def _obstacle(row: PaperRow, metric: str) -> str:
    """Why a row cannot be measured here; empty if it can."""
    settings = row.get("settings", {})
    model, method = str(row["model"]), METHOD_NAMES.get(row["method"])
    if MODEL_NAMES.get(model) not in MODELS:
        return _TRAINED if "fine-tuned" in model else f"no adapter for {row['model'] or 'an unnamed model'}"
    if method is None or method not in method_names():
        return f"no method {row['method']}"
    # FocusUI's released models are those of its main tables; ablations were trained for their rows alone.
    if (
        "train_data" in settings
        or settings.get("training", "training-free") != "training-free"
        or ("gui_training" in settings and metric.startswith("SS"))
    ):
        return _TRAINED
    return ""


def _group(paper: str, row: PaperRow) -> tuple[str | None, dict[str, str]]:
    return _budget(paper, row), _params(METHOD_NAMES[row["method"]], row.get("settings", {}))


def _budget(paper: str, row: PaperRow) -> str | None:
    if paper == "PixelPrune":  # its count follows from tau; its baselines copy it, per image, which is their auto
        return "auto"
    return None if row.get("retain_pct") is None else f"{row['retain_pct']:g}"


def _params(method: str, settings: PaperSettings) -> dict[str, str]:
    if method != "pixelprune":
        return {}
    out = {}
    if "predictor" in settings:
        out["pixelprune.predictor"] = str(settings["predictor"]).replace("-", "_")
    if settings.get("metric", "exact") != "exact":  # exact matching is tau = 0 under any distance
        out["pixelprune.metric"] = str(settings["metric"])
    if VIT_BLOCKS.get(settings.get("prune_position", "")):
        out["pixelprune.vit_layer"] = str(VIT_BLOCKS[settings["prune_position"]])
    if settings.get("tau"):
        out["pixelprune.tau"] = f"{settings['tau']:g}"
    return out


def command(run: Asked) -> str:
    """The command line of a run."""
    parts = ["python -m vtprune_eval"]
    for option, values in (
        ("model", [run["model"]]),
        ("method", run["methods"]),
        ("budget", run["budgets"]),
        ("tasks", run["tasks"]),
    ):
        parts.append(f"--{option} {shlex.quote(','.join(values))}")
    if run.get("model_path"):
        parts.append(f"--model-path {shlex.quote(run['model_path'])}")
    parts += [f"--set {shlex.quote(f'{k}={v}')}" for k, v in run["params"].items()]
    last = (("reading", run["reading"]), ("dtype", run["dtype"]), ("device", run["device"]), ("out", run["out"]))
    parts += [f"--{option} {shlex.quote(value)}" for option, value in last]
    # Code of the weights' authors: the person who starts the line says yes to it, `table --run` does not.
    parts += ["--trust-remote-code"] if run["model"] == "opencua-7b" else []
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
        own, full = (
            list(run.records[asked["tasks"][0], m, b].values())
            for m, b in ((found.method, _canonical(run, found)), ("full", "100"))
        )
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
    if name == "flops_prefill":
        done = [r["flops"]["total_prefill"] for own, _ in groups for r in own if r["flops"]]
        return float(np.mean(done)) * unit if done else None
    costs: Mapping[str, Any] = costs_over(groups)
    value = costs.get(name)
    return None if value is None else value * unit


def _canonical(run: Run, found: Plan) -> str:
    """The cell's budget as the run wrote it."""
    return next(c.budget for c in run.spec.cells() if c.method == found.method)
