"""Tables that need a training of our own: PixelPrune's 3, 5 and 11. One training per kind of tokens fills all three.

The paper trains Qwen3-VL-2B with the decoder of Qwen3-1.7B from its text weights on (``--start``, a folder that
``scripts/scratch_start.py`` writes), on the part of Jedi that has coordinates (``--train-data``, JSON lines).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from ..errors import UserError
from ..runner.folder import read_json
from .paper_data import PaperRow, PaperTable

TABLES = ("3", "5", "11")
# Token modes of the tables, in the order in which they are trained.
ARMS = {"Full": "full", "PixelPrune": "pixelprune"}
STEPS = 4000
MODEL = "qwen3vl-2b"
# Settings of the released code (section 7 of the paper's appendix and its configuration files); 18 samples per GPU.
SETTINGS = {
    "budget": "auto", "steps": str(STEPS), "batch": "18", "lr": "1e-5", "warmup": "100", "weight-decay": "0.01",
    "dtype": "bfloat16", "pack-tokens": "8192", "export-every": "400",
}  # fmt: skip
# Metric of Table 5 to the value in a training's summary, and its unit.
EFFICIENCY = {
    "forward_s": ("forward_s_median", 1.0),
    "backward_s": ("backward_s_median", 1.0),
    "peak_memory_gb": ("peak_bytes", 1e-9),
    "wall_time_h": ("step_s_median", STEPS / 3600),
}


def is_trained(data: PaperTable) -> bool:
    """Whether a table's rows come from trainings that can be repeated here."""
    return data["paper"] == "PixelPrune" and data.get("table") in TABLES


def folder_of(root: Path, arm: str, step: int | None = None) -> Path:
    """Where the training of an arm (and its model after ``step``) lies."""
    folder = root / f"scratch-{arm}"
    return folder if step in (None, STEPS) else folder / f"step-{step}"


def needed(row: PaperRow) -> str:
    """The arm that a row's cells come from."""
    settings = row.get("settings", {})
    return ARMS[settings.get("train_tokens", row["method"])]


def arguments(arm: str, device: str, root: Path, start: str | None, data: str | None) -> list[str]:
    """Options of ``train`` for an arm; START and DATA stand for what was not given."""
    return [
        *("train", "--model", MODEL, "--model-path", start or "START", "--data", data or "DATA.jsonl"),
        *("--method", arm, "--full", "--checkpointing", "--device", device),
        *(part for key, value in SETTINGS.items() for part in (f"--{key}", value)),
        *("--out", str(folder_of(root, arm))),
    ]


def command(arm: str, device: str, root: Path, start: str | None, data: str | None) -> str:
    """The command line of a training."""
    return "python -m vtprune_eval " + " ".join(map(shlex.quote, arguments(arm, device, root, start, data)))


def finished(root: Path, arm: str) -> bool:
    """Whether an arm's training is over."""
    return (folder_of(root, arm) / "training" / "summary.json").is_file()


def missing(data: PaperTable, root: Path) -> list[str]:
    """Arms whose training a table waits for."""
    arms = dict.fromkeys(needed(row) for row in data["rows"])
    return [arm for arm in arms if not finished(root, arm)]


def efficiency(row: PaperRow, metric: str, root: Path) -> float | None:
    """A cell of Table 5 from the summaries of the trainings; None while one is missing."""

    def value(arm: str, name: str) -> float | None:
        if not finished(root, arm):
            return None
        key, unit = EFFICIENCY[name]
        return float(read_json(folder_of(root, arm) / "training" / "summary.json")[key]) * unit

    if metric in EFFICIENCY:
        return value(ARMS[row["method"]], metric)
    name = {"forward_speedup": "forward_s", "backward_speedup": "backward_s", "wall_time_speedup": "wall_time_h",
            "peak_memory_reduction_pct": "peak_memory_gb"}[metric]  # fmt: skip
    full, own = value("full", name), value("pixelprune", name)
    if full is None or own is None:
        return None
    return 100 * (1 - own / full) if metric.endswith("_pct") else full / own


def train_missing(data: PaperTable, device: str, root: Path, start: str | None, lines: str | None) -> int:
    """Run the trainings that a table waits for, each in a process of its own; returns the first bad exit code.

    Raises:
        UserError: the starting model or the data are not named.
    """
    arms = missing(data, root)
    if arms and (start is None or lines is None):
        raise UserError(
            f"table pixelprune-{data['table']} trains first: give the starting model with --start (written by "
            "scripts/scratch_start.py) and the data with --train-data FILE.jsonl."
        )
    for arm in arms:
        print(f"\n{command(arm, device, root, start, lines)}", flush=True)
        code = subprocess.run(
            [sys.executable, "-m", "vtprune_eval", *arguments(arm, device, root, start, lines)], check=False
        ).returncode
        if code:
            return code
    return 0
