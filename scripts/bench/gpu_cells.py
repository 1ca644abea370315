"""What ``gpu.py`` measures: cells, loaded models with their screens, and one cell's calls."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCREEN, FRAME, N_FRAMES = (2716, 1616), (1920, 1080), 5
SMALL_SCREEN, SMALL_FRAME = (320, 192), (160, 96)  # of a rehearsal on a CPU
WORDS = 0.1  # share of the words drawn on a history frame
KEPT = 0.262  # PixelPrune, Table 4: share of the patches of such a screenshot
N_NEW = 8
MIN_CALLS, MAX_CALLS, WARM_CALLS = 3, 20, 3
WITH_HISTORY = ("guipruner", "guipruner-tar")  # they act on earlier screenshots; on a single one they do nothing
QUESTION = (
    "The user asks: open the settings of the application, find the entry that sets the language of the "
    "interface, and change it to Portuguese. What is the next action? Answer with one action and its "
    "coordinates."
)
TIMES = (
    "ttft_ms",
    "vit_ms",
    "prefill_ms",
    "select_ms",
    "decode_ms",
    "tpot_ms",
    "e2e_ms",
    "image_decode_ms",
    "preprocess_ms",
)


@dataclass(frozen=True)
class Cell:
    """What is measured at once: a method at a budget on a workload.

    Attributes:
        workload: ``screen`` or ``history``.
        method: as on the command line.
        budget: as on the command line.
        params: as on the command line.
        reading: of the budget.
        headline: key of the paper's headline that the cell belongs to.
    """

    workload: str
    method: str
    budget: str
    params: tuple[tuple[str, Any], ...] = ()
    reading: str = "equal"
    headline: str = ""

    @property
    def label(self) -> str:
        """``method@budget on workload``."""
        return f"{self.method}@{self.budget} on {self.workload}"


def cells(methods: Sequence[str], budgets: Sequence[str]) -> list[Cell]:
    """The cells of a group in order of importance; ``full`` is measured beside them."""
    out = [
        Cell("screen", "pixelprune", "auto", headline="pixelprune"),
        Cell("history", "guipruner", "auto", (("lam", 0.1), ("mu", 0.75)), headline="guipruner"),
        Cell("history", "guikv", "40", reading="paper", headline="guikv"),
        Cell("screen", "focusui", "30", reading="paper", headline="focusui"),
    ]
    out = [c for c in out if c.method in methods]
    for budget in budgets:
        out += [Cell("history" if m in WITH_HISTORY else "screen", m, budget) for m in methods]
    return out


def default_methods() -> list[str]:
    """Every method that can be run on a question without a target, ``full`` left out."""
    from vtprune_eval.registry import method_class, method_names

    return [
        n
        for n, source in method_names().items()
        if source == "builtin" and n != "full" and not method_class(n).sees_target
    ]


@dataclass
class Group:
    """One loaded model with one attention backend, and what was measured on it.

    Attributes:
        model: short name of the model.
        attention: name of the attention backend.
        rows: measured cells.
        full: per workload every call of ``full`` so far.
    """

    model: str
    attention: str
    adapter: Any
    samples: dict[str, Any]
    weights_bytes: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    full: dict[str, list[Any]] = field(default_factory=dict)
    pipelines: dict[str, Any] = field(default_factory=dict)

    def pipeline(self, cell: Cell) -> Any:
        """The pipeline of a cell; FocusUI has a scorer with random weights, like the model."""
        from vtprune_eval.budget import Budget
        from vtprune_eval.pipeline.generate import Pipeline
        from vtprune_eval.registry import make_method

        params = dict(cell.params)
        if cell.method == "focusui":
            params["scorer"] = "random"
        return Pipeline(
            self.adapter,
            make_method(cell.method, params, cell.reading),
            Budget.parse(cell.budget, cell.reading),
            max_new_tokens=N_NEW,
        )

    def call_full(self, workload: str) -> None:
        """One more call of ``full``, kept for the ratios; its row was measured before."""
        self.full[workload].append(self.pipelines[workload].run(self.samples[workload]))

    def least_seconds(self, workload: str) -> float:
        """About what a cell takes at least: a warm-up, a call of ``full``, and three calls no slower than it."""
        calls = self.full.get(workload)
        return (2 + MIN_CALLS) * calls[-1].times.e2e_ms / 1000 if calls else 0.0


def warm_up(pipeline: Any, sample: Any, seconds: float) -> int:
    """Up to three untimed calls, fewer where they take longer than ``seconds``; returns their number."""
    start, number = time.monotonic(), 0
    while number < WARM_CALLS and (not number or time.monotonic() - start <= seconds):
        pipeline.run(sample)
        number += 1
    return number


def measure(group: Group, cell: Cell, gpu: Any, window_s: float) -> dict[str, Any]:
    """One row: times, counts, memory and energy of a cell.

    Args:
        group: the model.
        cell: what to measure.
        gpu: the reader of energy.
        window_s: seconds of timed calls; at least three calls are made unless they take four times as long.

    Raises:
        UserError, SampleError: the method cannot do this, or there is not enough memory.
    """
    from vtprune_eval.methods.kernels.scorer import random_scorer

    pipeline, sample = group.pipeline(cell), group.samples[cell.workload]
    n_warm = warm_up(pipeline, sample, window_s / 2)
    if cell.method == "full":
        group.pipelines[cell.workload] = pipeline
    else:
        group.call_full(cell.workload)
    outcomes: list[Any] = []
    gpu.start()
    start = time.monotonic()
    while len(outcomes) < MAX_CALLS:
        outcomes.append(pipeline.run(sample))
        spent = time.monotonic() - start
        if spent >= window_s and (len(outcomes) >= MIN_CALLS or spent >= 4 * window_s):
            break
    joules, spent = gpu.stop(), time.monotonic() - start
    if cell.method == "full":
        group.full.setdefault(cell.workload, []).extend(outcomes)
    if cell.method == "focusui":
        random_scorer.cache_clear()  # it would stay on the GPU, in the peaks of all later cells
    return row_of(group, cell, outcomes, n_warm, joules, spent, gpu)


def row_of(
    group: Group, cell: Cell, outcomes: list[Any], n_warm: int, joules: float | None, spent_s: float, gpu: Any
) -> dict[str, Any]:
    """Medians, spread and counts of the calls of one cell (ratios are added when all calls of ``full`` are known)."""
    import numpy as np

    last = outcomes[-1]
    times = {name: [getattr(o.times, name) for o in outcomes] for name in TIMES}
    counts = last.counts
    return {
        "model": group.model,
        "attention": group.attention,
        "workload": cell.workload,
        "method": cell.method,
        "budget": cell.budget,
        "reading": cell.reading,
        "params": dict(cell.params),
        "headline": cell.headline,
        "full_call": len(group.full[cell.workload]) - 1,
        "n_warm_up": n_warm,
        "n_calls": len(outcomes),
        "window_s": round(spent_s, 3),
        "times": {
            k: {"median": float(np.median(v)), "p95": float(np.quantile(v, 0.95)), "min": min(v), "max": max(v)}
            for k, v in times.items()
        },
        "samples_ms": {k: [round(x, 4) for x in times[k]] for k in ("ttft_ms", "vit_ms", "prefill_ms", "decode_ms")},
        "patches": sum(counts.patches),
        "visual_tokens": sum(counts.visual),
        "visual_kept_pct": 100 * sum(counts.visual) / max(1, sum(counts.visual_full)),
        "prompt_tokens": counts.prompt_full,
        "new_tokens": counts.n_new,
        "flops": last.flops,
        "kv_bytes": last.kv_bytes,
        "peak_bytes": max(o.peak_bytes for o in outcomes),
        "peak_reserved_bytes": reserved_bytes(group.adapter.device),
        "weights_bytes": group.weights_bytes,
        "gpu_process_bytes": gpu.process_bytes(),
        "energy_j": None if joules is None else joules / len(outcomes),
        "notes": [str(note) for note in last.notes],
    }


def reserved_bytes(device: Any) -> int | None:
    """Peak that the allocator took from the GPU in the last call; None on a CPU."""
    import torch

    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def load_group(model: str, attention: str, given: argparse.Namespace, folder: Path) -> Group:
    """Load a model with random weights and draw its screens.

    Raises:
        UserError: it does not fit, or the backend is not installed.
    """
    from screens import save, screen, screen_keeping

    from vtprune_eval.models import load_model
    from vtprune_eval.sample import Sample

    adapter = load_model(model, weights="random", dtype=given.dtype, device=given.device, attn=attention)
    adapter.eos_ids = frozenset()  # every call generates the same number of tokens
    samples = {}
    for name, shots in (
        ("screen", [screen_keeping(*given.image, KEPT, adapter.images)[0]]),
        ("history", [screen(*given.frame, WORDS, seed) for seed in range(N_FRAMES)]),
    ):
        paths = tuple(save(shot, folder / f"{model}-{name}-{i}.png") for i, shot in enumerate(shots))
        samples[name] = Sample(name, paths, QUESTION, {"type": "none"})
    weights = sum(p.numel() * p.element_size() for p in adapter.model.parameters())
    return Group(model, attention, adapter, samples, weights)


def free_memory(device: Any) -> None:
    """Give back what a failed cell or a former model held."""
    import gc

    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
