"""``python -m vtprune_eval table NAME``: a paper's numbers beside measured and analytic ones.

A cell shows ``paper / here``. What is missing is listed with the command that fills it; ``--run`` starts these one
after the other and can be interrupted and started again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..console import Parser
from ..errors import UserError, unknown_name
from ..models.qwen3_vl_sizes import TRUE_DIMS
from ..paths import papers_dir
from ..runner.checks import check_device
from ..runner.folder import Run, read_run
from . import analytic, paper_training
from .analytic import ASSUMPTIONS, PROMPTS, costs
from .paper_cells import ACCURACIES, MODEL_NAMES, QUESTIONS, Plan, command, measured, plan
from .paper_data import Asked, Filled, PaperRow, PaperTable, read_table

# Arithmetic that a run is assumed to sustain, for the time estimate only.
ASSUMED_TFLOPS = {"cpu": 0.1, "cuda": 100.0}
TEXT_TOKENS = 120  # assumed, as in :data:`.analytic.PROMPTS`


def parser() -> Parser:
    """Options of ``table``."""
    p = Parser("table", description=__doc__)
    p.add_argument("name", nargs="?", help="such as pixelprune-4; without it the tables are listed")
    p.add_argument("--runs", default="runs/papers", help="folder of the runs that fill it (default runs/papers)")
    p.add_argument("--device", default="cuda", help="device of these runs (default cuda)")
    p.add_argument("--dry-run", action="store_true", help="list the missing runs with FLOPs and estimated time")
    p.add_argument("--run", action="store_true", help="start the missing runs, then print the table")
    p.add_argument("--start", metavar="FOLDER", help="of a table that trains: the model that the trainings start from")
    p.add_argument("--train-data", metavar="FILE", help="of a table that trains: JSON lines, see `train`")
    p.add_argument("--format", choices=("table", "md", "json"), default="table")
    return p


def names() -> dict[str, Path]:
    """Name to data file, e.g. ``pixelprune-4`` to ``pixelprune_table4.json``."""
    return {p.stem.replace("_table", "-").replace("_", "-"): p for p in sorted(papers_dir().glob("*.json"))}


def main(argv: Sequence[str]) -> int:
    """Print a table, its missing runs, or run them; returns the exit code.

    Raises:
        UserError: unknown table, or a run that cannot be started.
    """
    given = parser().parse_args(list(argv))
    known = names()
    check_device(given.device)
    if not known:
        raise UserError("the papers' tables are not installed; start this command in a checkout of the project.")
    if given.name is None:
        for name, path in known.items():
            data = read_table(path)
            print(f"{name:34} {data['paper']}, table {data['table']}: {data['caption']}")
        return 0
    if given.name not in known:
        raise unknown_name("table", given.name, known, "`python -m vtprune_eval table` lists them.")
    data = read_table(known[given.name])
    root = Path(given.runs)
    plans = {
        (i, metric): plan(data, row, metric, given.device, root)
        for i, row in enumerate(data["rows"])
        for metric in row["metrics"]
    }
    if given.dry_run:
        if paper_training.is_trained(data):
            for arm in paper_training.missing(data, root):
                print(paper_training.command(arm, given.device, root, given.start, given.train_data))
                print("    add --dry-run for its FLOPs and time, which follow from the images of the data")
        _dry_run(data, plans, given.device)
        return 0
    if given.run:
        from ..runner.config import from_mapping
        from ..runner.execute import execute

        if paper_training.is_trained(data):
            code = paper_training.train_missing(data, given.device, root, given.start, given.train_data)
            if code:
                return code
        for asked in missing_runs(plans):
            print(f"\n{command(asked)}")
            code = execute(from_mapping(asked))
            if code:
                return code
    report(given.name, data, plans, given.format, given.device, root)
    return 0


def finished(path: Path) -> Run | None:
    """The run in a folder, None where there is none or it is half done.

    Raises:
        UserError: a finished run that cannot be trusted.
    """
    return read_run(path) if (path / "summary.json").is_file() else None


def missing_runs(plans: dict[tuple[int, str], Plan]) -> list[Asked]:
    """Every run that some cell waits for, once, in table order."""
    out: dict[str, Asked] = {}
    for found in plans.values():
        for asked in found.runs:
            if asked["out"] not in out and finished(Path(asked["out"])) is None:
                out[asked["out"]] = asked
    return list(out.values())


def report(name: str, data: PaperTable, plans: dict[tuple[int, str], Plan], form: str, device: str, root: Path) -> None:
    """Print the table with what is measured, what is computed, and what is missing."""
    cells = _filled(data, plans, root)
    if form == "json":
        about = {k: v for k, v in data.items() if k in {"paper", "arxiv", "source", "source_kind", "units", "rows"}}
        print(json.dumps({"table": name, **about, "cells": cells}, indent=1))
        return
    _print_table(data, cells, "github" if form == "md" else "simple", device, root)
    _print_missing(data, cells, plans, device, root)


def _filled(data: PaperTable, plans: dict[tuple[int, str], Plan], root: Path) -> list[Filled]:
    """Every cell with its value from formulas, its measured one, and the commands of the runs that it waits for."""
    cells: list[Filled] = []
    sizes = _mean_sizes()
    for (i, metric), found in plans.items():
        row = data["rows"][i]
        cells.append(
            {
                "row": i,
                "metric": metric,
                "paper": row["metrics"][metric],
                "analytic": analytic.value(data, row, metric, sizes, MODEL_NAMES.get(str(row["model"]))),
                "measured": _measured(data, row, found, metric, root),
                "why_not": found.why_not or None,
                "commands": [command(r) for r in found.runs if finished(Path(r["out"])) is None],
            }
        )
    return cells


def _print_table(data: PaperTable, cells: Sequence[Filled], style: str, device: str, root: Path) -> None:
    """The table itself, and the shares of tokens where the paper prints them by benchmark."""
    from tabulate import tabulate

    metrics = list(data["units"])
    by_place = {(c["row"], c["metric"]): c for c in cells}
    lines = [
        [
            row["model"] or "-",
            row["method"],
            _retained(row),
            _setting(row),
            *(_cell(by_place.get((i, m))) for m in metrics),
        ]
        for i, row in enumerate(data["rows"])
    ]
    print(
        f"{data['paper']} (arXiv {data['arxiv']}), table {data['table']}: {data['caption']}\n"
        f"Source: {data['source']} ({data['source_kind']}).\n"
        "Each cell: paper / measured here = value from formulas, where there is one.\n"
    )
    heads = ["model", "method", "kept %", "setting", *(f"{m} [{data['units'][m]}]" for m in metrics)]
    print(tabulate(lines, headers=heads, tablefmt=style, disable_numparse=True))
    kept = [line for row in data["rows"] for line in _retention(data, row, device, root)]
    if kept:
        print(
            "\nKept visual tokens in %, over the whole data set (they follow from the images: no trained weights are "
            "needed):\n"
        )
        print(tabulate(kept, headers=["model", "setting", "benchmark", "paper / measured here"], tablefmt=style))


def _print_missing(
    data: PaperTable, cells: Sequence[Filled], plans: dict[tuple[int, str], Plan], device: str, root: Path
) -> None:
    """What a reader must know below the table: notes, formulas, what cannot be measured, what waits for a command."""
    for note in data.get("notes", []):
        print(f"note: {note}")
    if any(c["analytic"] is not None for c in cells):
        print(f"formulas: {ASSUMPTIONS[data['paper']]}.")
    reasons = Counter(c["why_not"] for c in cells if c["paper"] is not None and c["why_not"])
    for reason, n in reasons.items():
        print(f"not measurable here: {n} cells: {reason}")
    if paper_training.is_trained(data):
        for arm in paper_training.missing(data, root):
            print(f"\na training is missing, which the runs below evaluate:\n  "
                  f"{paper_training.command(arm, device, root, None, None)}")  # fmt: skip
    wanted = missing_runs(plans)
    if wanted:
        print(f"\n{len(wanted)} runs are missing; each fills the cells of its model, method and task:")
        for asked in wanted:
            print(f"  {command(asked)}")


def _measured(data: PaperTable, row: PaperRow, found: Plan, metric: str, root: Path) -> float | None:
    if paper_training.is_trained(data) and metric not in ACCURACIES:
        return paper_training.efficiency(row, metric, root)
    return measured(data["paper"], found, metric, finished)


def _retention(data: PaperTable, row: PaperRow, device: str, root: Path) -> list[list[str]]:
    """Lines of a row's retained shares: the paper's, and those measured where a run is there."""
    out = []
    settings = row.get("settings", {}).copy()
    settings.pop("gui_training", None)
    bare: PaperRow = {**row, "settings": settings}
    for metric, share in (row.get("retain_pct_by_metric") or {}).items():
        found = plan(data, bare, metric, device, root) if row["method"] != "Full" else Plan()
        ours = measured(data["paper"], found, "visual_kept_pct", finished) if found.runs else None
        out.append([row["model"] or "", _setting(row), metric, f"{_number(share)} / {_number(ours)}"])
    return out


def _cell(cell: Filled | None) -> str:
    if cell is None:
        return ""
    text = f"{_number(cell['paper'])} / {_number(cell['measured'])}"
    return text if cell["analytic"] is None else f"{text} = {_number(cell['analytic'])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _retained(row: PaperRow) -> str:
    if row["retain_pct"] is not None:
        return f"{row['retain_pct']:g}"
    return "per metric" if row.get("retain_pct_by_metric") else "-"


def _setting(row: PaperRow) -> str:
    return ", ".join(f"{k} {v}" for k, v in (row.get("settings") or {}).items())


def _dry_run(data: PaperTable, plans: dict[tuple[int, str], Plan], device: str) -> None:
    """List the missing runs: FLOPs of all cells of a run, at the benchmark's mean image size."""
    rate = ASSUMED_TFLOPS["cuda" if device.startswith("cuda") else "cpu"]
    total, unknown = 0.0, 0
    wanted = missing_runs(plans)
    for asked in wanted:
        flops = run_flops(asked, data, plans)
        if flops is None:
            unknown += 1
            print(f"{command(asked)}\n    FLOPs and time not known: the mean image size is not printed")
        else:
            total += flops
            print(f"{command(asked)}\n    {flops / 1e15:,.1f} PFLOPs, about {flops / rate / 1e12 / 3600:,.2f} h")
    print(
        f"\n{len(wanted)} runs missing, {total / 1e15:,.1f} PFLOPs, about {total / rate / 1e12 / 3600:,.1f} h at an "
        f"assumed {rate:g} TFLOP/s; {unknown} runs of unknown cost"
    )


def run_flops(asked: Asked, data: PaperTable, plans: dict[tuple[int, str], Plan]) -> float | None:
    """Prefill FLOPs of a run (full and its methods), None where sizes or retention are not printed."""
    shorts = {t[0]: m for m, t in ACCURACIES.items() if len(t) == 1}
    short, dims = shorts.get(asked["tasks"][0]), TRUE_DIMS.get(asked["model"])
    if dims is None or short not in _mean_sizes():
        return None
    size, _ = _mean_sizes()[short]
    images = PROMPTS["MMLongBench-Doc"][1] if short == "MMLongBench-Doc" else 1
    shares: dict[str, float] = {}
    for (i, _), found in plans.items():
        if asked in found.runs:
            row = data["rows"][i]
            kept = (row.get("retain_pct_by_metric") or {}).get(short, row["retain_pct"])
            if kept is None:
                return None
            shares[found.method] = 100.0 if found.method == "full" else kept
    shares.setdefault("full", 100.0)
    each = sum(costs([size] * images, TEXT_TOKENS, share, dims)["ours"] for share in shares.values())
    return each * QUESTIONS[asked["tasks"][0]]


def _mean_sizes() -> dict[str, tuple[tuple[int, int], int]]:
    """Benchmark to the mean (width, height) in pixels and the number of its images (PixelPrune's Table 9)."""
    rows = read_table(names()["pixelprune-9"])["rows"]
    return {
        r["settings"]["benchmark"]: ((_whole(r, "mean_width_px"), _whole(r, "mean_height_px")), _whole(r, "images"))
        for r in rows
    }


def _whole(row: PaperRow, metric: str) -> int:
    """A printed number that is a count; 0 where none is printed."""
    return int(row["metrics"][metric] or 0)
