"""Accuracy-cost curves and stage-time stacks of a run, as PNG and SVG.

Colours are Okabe and Ito's, which people with colour blindness tell apart; shapes, line styles and hatches say the same
again, so that a print in grey loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runner.folder import Run
from .result_file import cells_of

COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
CURVES = {
    "visual_tokens": ("visual tokens into the decoder", 1.0),
    "flops": ("GFLOPs per sample", 1e-9),
    "kv_bytes": ("KV cache after prefill (kB)", 1e-3),
    "ttft_ms": ("time to first token (ms)", 1.0),
}
# Stage, name in the legend, hatch.
STAGES = (
    ("image_decode_ms", "image decode", ""),
    ("preprocess_ms", "preprocess", "//"),
    ("select_ms", "selector", "xx"),
    ("vit_ms", "ViT", ".."),
    ("prefill_ms", "prefill", "\\\\"),
    ("decode_ms", "decode", "--"),
)


def plot_run(run: Run, folder: Path) -> list[Path]:
    """Draw all plots of a run; returns the files.

    Raises:
        UserError: matplotlib is missing, or the folder cannot be made.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("plots need matplotlib: pip install 'vtprune_eval[plots]'.") from None
    matplotlib.use("Agg")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); free its place.") from None
    cells = cells_of(run.settings, {k: list(own.values()) for k, own in run.records.items()})
    out: list[Path] = []
    for task in dict.fromkeys(c["task"] for c in cells):
        own = [c for c in cells if c["task"] == task]
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", task)
        title = f"{run.settings['model']}, {task}, {own[0]['n']} samples"
        if any("accuracy" in c for c in own):
            out += _save(accuracy_figure(own, title), folder / f"{plain}-accuracy")
        out += _save(stage_figure(own, title), folder / f"{plain}-stages")
    return out


def accuracy_figure(cells: Sequence[dict[str, Any]], title: str) -> Any:
    """Accuracy with 95 % bars against each cost of ``CURVES``: one line per method over its budgets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 7.5), layout="constrained")
    methods = list(dict.fromkeys(c["method"] for c in cells))
    for axes, (cost, (label, unit)) in zip(figure.subplots(2, 2).flat, CURVES.items(), strict=True):
        for i, method in enumerate(methods):
            own = [c for c in cells if c["method"] == method and "accuracy" in c and c["costs"].get(cost) is not None]
            own.sort(key=lambda c: c["costs"][cost])
            if not own:
                continue
            y = [100 * c["accuracy"] for c in own]
            ends = [c["ci95"] or [c["accuracy"]] * 2 for c in own]  # no bar where there is no interval
            bars = [
                [100 * max(0.0, c["accuracy"] - low) for c, (low, _) in zip(own, ends, strict=True)],
                [100 * max(0.0, high - c["accuracy"]) for c, (_, high) in zip(own, ends, strict=True)],
            ]
            axes.errorbar(
                [c["costs"][cost] * unit for c in own],
                y,
                yerr=bars,
                label=method,
                capsize=2,
                elinewidth=0.8,
                color=COLOURS[i % len(COLOURS)],
                marker=SHAPES[i % len(SHAPES)],
                linestyle=DASHES[i % len(DASHES)],
                linewidth=1.2,
                markersize=5,
            )
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy (%)")
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
    figure.suptitle(title)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize="small")
    return figure


def stage_figure(cells: Sequence[dict[str, Any]], title: str) -> Any:
    """Median time of every stage, stacked, one bar per cell."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.34 * len(cells)), layout="constrained")
    axes = figure.subplots()
    names = ["full" if c["method"] == "full" else f"{c['method']} at {c['budget']}" for c in cells]
    left = [0.0] * len(cells)
    for i, (stage, label, hatch) in enumerate(STAGES):
        width = [c["costs"].get(stage) or 0.0 for c in cells]
        axes.barh(
            range(len(cells)),
            width,
            left=left,
            label=label,
            hatch=hatch,
            color=COLOURS[1:][i],
            edgecolor="white",
            linewidth=0.4,
        )
        left = [a + b for a, b in zip(left, width, strict=True)]
    axes.set_yticks(range(len(cells)), names)
    axes.invert_yaxis()
    axes.set_xlabel("sum of the stages' median times (ms)")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=6, fontsize="small")
    return figure


def _save(figure: Any, stem: Path) -> list[Path]:
    out = []
    for form in ("png", "svg"):
        path = stem.with_name(f"{stem.name}.{form}")
        # Without a date, the same run gives the same file.
        figure.savefig(path, dpi=150, metadata={"Date": None} if form == "svg" else None)
        out.append(path)
    return out
