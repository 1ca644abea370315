"""Train the marker of POSPAD for nano, and judge FocusUI's claim about it again (arXiv 2601.03928, section 3.3).

    python scripts/train_marker.py --data DATA/pages.jsonl --out MARKER --steps 150 [--reading paper]

Only the marker's row of the embedding is trained, with the retained share drawn from U(0.1, 1) per sample: once from
the mean of the vocabulary on (as the released training starts it), once from the mean of what is dropped. Then
``focusui`` answers mini-grounding with both, with the stand-ins of an untrained marker, and without markers; in the
reading ``equal`` markers are charged, in ``paper`` they come on top. With ``--stage2 STEPS`` FocusUI's second stage
(every weight, the scorer and the marker) is also trained twice, with markers and with direct removal in the loop, and
each is evaluated as it was trained. Started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train_crossing import call

TASK = "mini-grounding"
# Name of the row: the trained folder that is used ("" for nano), and the setting.
ROWS = {
    "trained from the dropped": ("runs", "focusui.pad=run_end"),
    "trained from the vocabulary": ("vocabulary", "focusui.pad=run_end"),
    "mean of the run": ("", "focusui.marker=mean"),
    "pad token": ("", "focusui.pad=run_end"),
    "direct removal": ("", "focusui.pad=none"),
}


# FocusUI's second stage, trained and evaluated with one and the same setting.
STAGE2 = {"stage 2 with markers": "focusui.pad=run_end", "stage 2 with direct removal": "focusui.pad=none"}


def with_boxes(data: Path, out: Path) -> Path:
    """The lines of a file that have a box, which the scorer's loss needs, with absolute image paths."""
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    kept = [{**r, "images": [str((data.parent / i).resolve()) for i in r["images"]]} for r in lines if "box_xyxy" in r]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(r) + "\n" for r in kept))
    return out


def evaluate(args: argparse.Namespace, name: str, folder: Path | None, setting: str) -> Path:
    """Answers of one row; returns the run's folder."""
    out = args.out / args.reading / name.replace(" ", "-")
    if not (out / "summary.json").exists():
        where = ["--model-path", str(folder)] if folder else []
        more = [] if args.limit is None else ["--limit", str(args.limit)]
        call(
            *("--model", "nano", *where, "--method", "focusui", "--no-full", "--budget", args.budgets),
            *("--reading", args.reading, "--tasks", TASK, "--set", setting, *more, "--device", "cpu"),
            *("--timings", "0", "--profile", "off", "-q", "--out", str(out)),
        )
    return out


def main() -> int:
    """Train and evaluate what is missing, then print accuracies and paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pages.jsonl of scripts/training_data.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=3e-2)
    parser.add_argument("--budgets", default="10,20,40")
    parser.add_argument("--reading", choices=("equal", "paper"), default="equal")
    parser.add_argument("--stage2", type=int, default=0, metavar="STEPS", help="also train FocusUI's second stage")
    parser.add_argument("--limit", type=int, help="samples in evaluation (default all)")
    args = parser.parse_args()
    runs = {}
    for name, (start, setting) in ROWS.items():
        folder = args.out / f"model-{start}"
        if start and not (folder / "training" / "summary.json").exists():
            call(
                *("train", "--model", "nano", "--data", str(args.data), "--method", "focusui", "--train", "marker"),
                *("--budget", "uniform:10:100", "--steps", str(args.steps), "--batch", "4", "--marker-start", start),
                *("--lr", str(args.lr), "--warmup", "10", "--device", "cpu", "--save-every", "25"),
                *("--out", str(folder)),
            )
        runs[name] = evaluate(args, name, folder if start else None, setting)
    print(table(runs, args.budgets.split(",")))
    if not args.stage2:
        return 0
    second = {}
    for name, setting in STAGE2.items():
        folder = args.out / f"model-{name.replace(' ', '-')}"
        if not (folder / "training" / "summary.json").exists():
            call(
                *("train", "--model", "nano", "--data", str(with_boxes(args.data, args.out / "boxes.jsonl"))),
                *("--recipe", "focusui-stage2", "--set", setting, "--steps", str(args.stage2), "--batch", "8"),
                *("--lr", "1e-4", "--warmup", "10", "--device", "cpu", "--save-every", "20", "--out", str(folder)),
            )
        second[name] = evaluate(args, name, folder, setting)
    print(table(second, args.budgets.split(",")))
    return 0


def table(runs: dict[str, Path], budgets: list[str]) -> str:
    """Markdown: accuracy per row and budget, and the paired difference of the first row to it."""
    from vtprune_eval.results.stats import paired_difference
    from vtprune_eval.runner.folder import read_run

    first = next(iter(runs))
    records = {name: read_run(out).records for name, out in runs.items()}

    def scores(name: str, budget: str) -> list[float]:
        found = records[name][TASK, "focusui", budget]
        return [found[key]["score"] for key in sorted(found)]

    lines = ["| marker | " + " | ".join(f"{b} %" for b in budgets) + " |", "|---" * (1 + len(budgets)) + "|"]
    for name in runs:
        cells = []
        for budget in budgets:
            own = scores(name, budget)
            text = f"{100 * sum(own) / len(own):.1f}"
            if name != first:
                gain, low, high = paired_difference(scores(first, budget), own)
                text += f" (first {100 * gain:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})"
            cells.append(text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
