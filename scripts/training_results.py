"""Write the measured tables of docs/training.md from finished runs.

    python scripts/training_results.py --tuned TUNED --merger MERGER --all ALL --joint JOINT --marker MARKER \
        [--page docs/training.md]

The folders are those of ``scripts/train_crossing.py`` and ``scripts/train_marker.py``; one that is left out keeps its
table on the page. A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; without ``--page`` all are
printed. Intervals are 95 % bootstraps over samples, a sample's value being its mean over the seeds: they do not tell
how much a further seed would differ, for which the range over the seeds stands beside.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train_crossing import ARMS, CROSSED, TASKS, TEACHER
from train_marker import ROWS, STAGE2
from train_marker import table as marker_table

NAMES = {"full": "all tokens", "pixelprune": "`pixelprune`", "random": "`random`", "resize": "`resize`",
         TEACHER: "`pixelprune`, full-token teacher (+KD)"}  # fmt: skip


def scores(folder: Path) -> dict[tuple[str, str], list[float]]:
    """Scores by (task, method) of a finished evaluation, in the order of the samples."""
    from vtprune_eval.runner.folder import read_run

    return {
        (task, method): [records[key]["score"] for key in sorted(records)]
        for (task, method, _), records in read_run(folder).records.items()
    }


def over_seeds(root: Path, arm: str, end: str = "") -> dict[tuple[str, str], np.ndarray]:
    """Scores of all finished seeds of an arm, ``(n_seeds, n_samples)`` by (task, method)."""
    found = [scores(p.parent) for p in sorted(root.glob(f"eval-{arm}-[0-9]{end}/summary.json"))]
    return {key: np.array([one[key] for one in found]) for key in (found[0] if found else {})}


def percent(values: np.ndarray) -> str:
    """Mean in percent, and the range over the seeds where there are several."""
    seeds = 100 * values.mean(1)
    spread = f" [{seeds.min():.1f} to {seeds.max():.1f}]" if len(seeds) > 1 else ""
    return f"{seeds.mean():.1f}{spread}"


def difference(own: np.ndarray, base: np.ndarray) -> str:
    """Paired difference of the means over the seeds in points, with its interval."""
    from vtprune_eval.results.stats import paired_difference

    found = paired_difference(own.mean(0).tolist(), base.mean(0).tolist())
    change, low, high = (f"{round(100 * v, 1) + 0.0:+.1f}" for v in found)  # no -0.0
    return f"{change}; {low} to {high}"


def crossing(root: Path) -> str:
    """Table 3: rows are trainings, columns what is evaluated with.

    In brackets the difference to the first rows: nano as shipped, or, from other starts, trained with all tokens.
    """
    start = (
        {key: np.array([v]) for key, v in scores(root / "eval-start").items()} if (root / "eval-start").exists() else {}
    )
    trained = {arm: over_seeds(root, arm) for arm in CROSSED}
    base = start or trained["full"]
    lines = ["| trained with | task | " + " | ".join(NAMES[a] for a in ARMS) + " |", "|---" * (2 + len(ARMS)) + "|"]
    for name, own in [("nano as shipped", start), *((NAMES[arm], found) for arm, found in trained.items())]:
        for task in TASKS if own else ():
            cells = []
            for method in ARMS:
                if (task, method) not in own:
                    cells.append("-")
                elif own is base:
                    cells.append(percent(own[task, method]))
                else:
                    change = difference(own[task, method], base[task, method])
                    cells.append(f"{percent(own[task, method])} ({change})")
            lines.append(f"| {name} | {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def along(root: Path) -> str:
    """Table 11: accuracy in the token mode of the training, and the difference of PixelPrune to all tokens."""
    steps = sorted({int(p.name.rsplit("-", 1)[1]) for p in root.glob("eval-full-0-step-*")})
    last = json.loads((root / "full-0" / "training" / "summary.json").read_text())["steps"]
    lines = ["| step | task | all tokens | `pixelprune` | difference |", "|---|---|---|---|---|"]
    for step in [*steps, last]:
        ends = "" if step == last else f"-step-{step}"
        full, own = (over_seeds(root, arm, ends) for arm in ("full", "pixelprune"))
        for task in TASKS:
            a, b = full[task, "full"], own[task, "pixelprune"]
            lines.append(f"| {step} | {task} | {percent(a)} | {percent(b)} | {difference(b, a)} |")
    return "\n".join(lines)


def log(folder: Path) -> list[dict]:
    """The steps of a training."""
    return [json.loads(line) for line in (folder / "training" / "steps.jsonl").read_text().splitlines()]


def matched(root: Path) -> str:
    """Tokens, FLOPs and losses of the trainings, means over steps and seeds."""
    lines = ["| trained with | visual tokens a step | GFLOPs a step | loss, first ten steps | loss, last ten |",
             "|---|---|---|---|---|"]  # fmt: skip
    for arm in CROSSED:
        logs = [log(p.parent.parent) for p in sorted(root.glob(f"{arm}-[0-9]/training/summary.json"))]
        if not logs:
            continue

        def mean(value: Callable[[dict], float], part: slice = slice(None), logs: Sequence[list[dict]] = logs) -> float:
            return float(np.mean([value(line) for one in logs for line in one[part]]))

        flops = mean(lambda x: (x["flops_forward"] + x["flops_backward"]) / 1e9)
        first, end = (mean(lambda x: x["answer"], part) for part in (slice(10), slice(-10, None)))
        lines.append(f"| {NAMES[arm]} | {mean(lambda x: x['visual']):.1f} | {flops:.1f} | {first:.3f} | {end:.3f} |")
    return "\n".join(lines)


def efficiency(root: Path) -> str:
    """Table 5: a training with PixelPrune of which every step was also run with all tokens."""
    from vtprune_eval.training.speed import compared

    lines = [line for line in log(root / "pixelprune-0") if "full" in line][1:]
    found = compared(lines)
    rows = {"forward": "forward", "backward": "backward", "both passes": "passes",
            "whole step (with preparation and optimizer)": "step", "bound by FLOPs": "flops_bound",
            "rows of the decoder": "tokens"}  # fmt: skip
    out = [f"| {len(lines)} steps | all tokens / `pixelprune` | 95 % |", "|---|---|---|"]
    for name, key in rows.items():
        low, high = found[key]["ci95"]
        out.append(f"| {name} | {found[key]['ratio']:.2f} | {low:.2f} to {high:.2f} |")
    peak = 1 - found["peak_bytes"] / found["peak_bytes_full"]
    out.append(f"| peak memory of the process | {100 * peak:.1f} % less | - |")
    return "\n".join(out)


def marker(root: Path) -> str:
    """Accuracies with and without a trained marker, per reading."""
    parts = []
    for reading in ("equal", "paper"):
        runs = {name: root / reading / name.replace(" ", "-") for name in ROWS}
        if all((run / "summary.json").exists() for run in runs.values()):
            parts.append(f"Reading `{reading}`:\n\n{marker_table(runs, ['20', '40'])}")
        second = {name: root / reading / name.replace(" ", "-") for name in STAGE2}
        if all((run / "summary.json").exists() for run in second.values()):
            parts.append(f"Second stage, reading `{reading}`:\n\n{marker_table(second, ['20', '40'])}")
    return "\n\n".join(parts)


# Name of a table: the folder that it is made of, and how.
TABLES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "tuned": ("tuned", crossing),
    "tuned-losses": ("tuned", matched),
    "merger": ("merger", crossing),
    "merger-losses": ("merger", matched),
    "along": ("merger", along),
    "longer": ("longer", crossing),
    "efficiency": ("merger", efficiency),
    "all": ("all", crossing),
    "all-losses": ("all", matched),
    "joint": ("joint", crossing),
    "joint-losses": ("joint", matched),
    "marker": ("marker", marker),
}


def placed(page: str, name: str, table: str) -> str:
    """A page with a table in its place.

    Raises:
        SystemExit: the page has no place for it.
    """
    place = re.compile(rf"(<!-- table {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(page):
        raise SystemExit(f"the page has no place for the table {name}: add <!-- table {name} --> and <!-- end -->.")
    return place.sub(lambda found: f"{found[1]}{table}\n{found[2]}", page)


def main() -> int:
    """Make the tables of the folders that are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in dict.fromkeys(folder for folder, _ in TABLES.values()):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--page", type=Path, help="whose tables are replaced")
    args = parser.parse_args()
    page = args.page.read_text(encoding="utf-8") if args.page else ""
    for name, (folder, make) in TABLES.items():
        root = getattr(args, folder)
        if root is None:
            continue
        table = make(root)
        page = placed(page, name, table) if args.page else f"{page}\n## {name}\n\n{table}\n"
    if args.page:
        args.page.write_text(page, encoding="utf-8")
    else:
        print(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
