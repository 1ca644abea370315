"""Train the marker of POSPAD for nano, and judge FocusUI's claim about it again (arXiv 2601.03928, section 3.3).

    python scripts/train_marker.py --data DATA/pages.jsonl --out MARKER --steps 150

Only the marker's row of the embedding is trained, with the retained share drawn from U(0.1, 1) per sample. Then
``focusui`` answers mini-grounding with the trained marker, both stand-ins of an untrained one, and without markers,
in the reading ``equal``, in which markers are charged. Started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train_crossing import call

TASK = "mini-grounding"
# Name of the row: whether the trained folder is used, and the setting.
ROWS = {
    "trained marker": (True, "focusui.pad=run_end"),
    "pad token": (False, "focusui.pad=run_end"),
    "mean of the run": (False, "focusui.marker=mean"),
    "direct removal": (False, "focusui.pad=none"),
    "direct removal, trained folder": (True, "focusui.pad=none"),
}


def main() -> int:
    """Train and evaluate what is missing, then print accuracies and paired differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pages.jsonl of scripts/training_data.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=3e-2)
    parser.add_argument("--budgets", default="10,20,40")
    parser.add_argument("--limit", type=int, help="samples in evaluation (default all)")
    args = parser.parse_args()
    trained = args.out / "model"
    if not (trained / "training" / "summary.json").exists():
        call(
            *("train", "--model", "nano", "--data", str(args.data), "--method", "focusui", "--train", "marker"),
            *("--budget", "uniform:10:100", "--steps", str(args.steps), "--batch", "4"),
            *("--lr", str(args.lr), "--warmup", "10", "--device", "cpu", "--save-every", "25", "--out", str(trained)),
        )
    runs = {}
    for name, (ours, setting) in ROWS.items():
        out = args.out / name.replace(" ", "-").replace(",", "")
        if not (out / "summary.json").exists():
            where = ["--model-path", str(trained)] if ours else []
            more = [] if args.limit is None else ["--limit", str(args.limit)]
            call(
                *("--model", "nano", *where, "--method", "focusui", "--no-full", "--budget", args.budgets),
                *("--tasks", TASK, "--set", setting, *more, "--device", "cpu", "--timings", "0", "--profile", "off"),
                *("--out", str(out)),
            )
        runs[name] = out
    print(table(runs, args.budgets.split(",")))
    return 0


def table(runs: dict[str, Path], budgets: list[str]) -> str:
    """Markdown: accuracy per row and budget, and the paired difference of the trained marker to every other row."""
    from vtprune_eval.results.stats import paired_difference
    from vtprune_eval.runner.folder import read_run

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
            if name != "trained marker":
                gain, low, high = paired_difference(scores("trained marker", budget), own)
                text += f" (trained {100 * gain:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})"
            cells.append(text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
