"""Trained with some tokens, evaluated with others: PixelPrune's Table 3 on nano, with controls at matched tokens.

    python scripts/training_data.py --out DATA
    python scripts/train_crossing.py --data DATA/pages.jsonl --out CROSSING --steps 150 --seeds 1
    python scripts/train_crossing.py --out CROSSING --table

Every training starts from the embedded nano (which was trained with all tokens) and sees the same samples in the same
order; only the method in the loop differs. Each result is then evaluated with every method; ``random`` and ``resize``
keep as many tokens per image as PixelPrune. Stopped and started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ARMS = ("pixelprune", "full", "random", "resize")
TASKS = ("mini-grounding", "mini-doc")


def call(*arguments: str) -> None:
    """Run one command of the package; its own folders make it resumable."""
    print("+ python -m vtprune_eval", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "vtprune_eval", *arguments], check=True, stdout=subprocess.DEVNULL)


def train(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """One training; returns its folder."""
    out = args.out / f"{arm}-{seed}"
    if not (out / "training" / "summary.json").exists():
        call(
            *("train", "--model", "nano", "--data", str(args.data), "--method", arm, "--budget", "auto"),
            *("--steps", str(args.steps), "--batch", "4", "--questions", "6", "--lr", str(args.lr)),
            *("--warmup", "20", "--seed", str(seed), "--device", "cpu", "--save-every", "25", "--out", str(out)),
        )
    return out


def evaluate(args: argparse.Namespace, folder: Path | None, name: str) -> None:
    """Answers of one model with every method."""
    out = args.out / f"eval-{name}"
    if (out / "summary.json").exists():
        return
    more = [] if args.limit is None else ["--limit", str(args.limit)]
    where = [] if folder is None else ["--model-path", str(folder)]
    call(
        *("--model", "nano", *where, "--method", ",".join(ARMS), "--budget", "auto", "--tasks", ",".join(TASKS)),
        *(*more, "--device", "cpu", "--timings", "0", "--profile", "off", "--out", str(out)),
    )


def accuracies(folder: Path) -> dict[tuple[str, str], list[float]]:
    """Scores by (task, method) of a finished evaluation, in the order of the samples."""
    from vtprune_eval.runner.folder import read_run

    run = read_run(folder)
    return {
        (task, method): [records[key]["score"] for key in sorted(records)]
        for (task, method, _), records in run.records.items()
    }


def table(args: argparse.Namespace) -> str:
    """Markdown: rows are trainings, columns what is evaluated with; percent right, mean over seeds and both tasks."""
    from vtprune_eval.results.stats import paired_difference

    lines = [
        "| trained with | seed | " + " | ".join(f"{m} tokens" for m in ARMS) + " |",
        "|---" * (2 + len(ARMS)) + "|",
    ]
    start = accuracies(args.out / "eval-start")
    names = ["start"] + [f"{arm}-{seed}" for seed in range(args.seeds) for arm in ARMS]
    for name in names:
        if not (args.out / f"eval-{name}" / "summary.json").exists():
            continue
        own = accuracies(args.out / f"eval-{name}")
        arm, _, seed = name.partition("-")
        cells = []
        for method in ARMS:
            mine = [v for task in TASKS for v in own[task, method]]
            base = [v for task in TASKS for v in start[task, method]]
            text = f"{100 * sum(mine) / len(mine):.1f}"
            if name != "start":
                change, low, high = paired_difference(mine, base)
                text += f" ({100 * change:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})"
            cells.append(text)
        lines.append(f"| {'nano as shipped' if name == 'start' else arm} | {seed or '-'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Train and evaluate what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="pages.jsonl of scripts/training_data.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, help="samples per task in evaluation (default all)")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    args = parser.parse_args()
    if not args.table:
        if args.data is None:
            parser.error("--data is needed")
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "settings.json").write_text(json.dumps({k: str(v) for k, v in vars(args).items()}, indent=1))
        evaluate(args, None, "start")
        for seed in range(args.seeds):
            for arm in ARMS:
                evaluate(args, train(args, arm, seed), f"{arm}-{seed}")
                print(table(args), flush=True)
    print(table(args))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
