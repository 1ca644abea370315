"""Trained with some tokens, evaluated with others: PixelPrune's Table 3 on nano, with controls at matched tokens.

    python scripts/training_data.py --out DATA
    python scripts/train_crossing.py --data DATA/pages.jsonl --out CROSSING --steps 150 --seeds 1
    python scripts/train_crossing.py --out CROSSING --table

Every training starts from the embedded nano (which was trained with all tokens) and sees the same samples in the same
order; only the method in the loop differs. Each result is then evaluated with all tokens and with its own method, that
of all tokens with every method; ``random`` and ``resize`` keep as many tokens per image as PixelPrune. Stopped and
started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ARMS = ("pixelprune", "full", "random", "resize")
TEACHER = "kd"  # PixelPrune's tokens with a full-token teacher, besides
TASKS = ("mini-grounding", "mini-doc")


# What each training is evaluated with: all tokens, its own method, and everything where all tokens were trained.
CROSSED = {arm: tuple(dict.fromkeys(("full", arm))) if arm != "full" else ARMS for arm in ARMS}
CROSSED[TEACHER] = ("full", "pixelprune")


def call(*arguments: str) -> None:
    """Run one command of the package; its own folders make it resumable."""
    from vtprune_eval.cli import main as command

    print("+ python -m vtprune_eval", *arguments, flush=True)
    with redirect_stdout(io.StringIO()):
        code = command(list(arguments))
    if code:
        raise SystemExit(code)


def train(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """One training; returns its folder."""
    out = args.out / f"{arm}-{seed}"
    if not (out / "training" / "summary.json").exists():
        call(
            *("train", "--model", "nano", "--data", str(args.data), "--budget", "auto"),
            *(("--method", "pixelprune", "--teacher", "full") if arm == TEACHER else ("--method", arm)),
            *("--steps", str(args.steps), "--batch", str(args.batch), "--questions", "6", "--lr", str(args.lr)),
            *("--warmup", "10", "--seed", str(seed), "--device", "cpu", "--save-every", "25", "--out", str(out)),
        )
    return out


def evaluate(args: argparse.Namespace, folder: Path | None, name: str, methods: tuple[str, ...] = ARMS) -> None:
    """Answers of one model with some methods."""
    out = args.out / f"eval-{name}"
    if (out / "summary.json").exists():
        return
    more = [] if args.limit is None else ["--limit", str(args.limit)]
    where = [] if folder is None else ["--model-path", str(folder)]
    call(
        *("--model", "nano", *where, "--method", ",".join(methods), "--budget", "auto", "--tasks", ",".join(TASKS)),
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
    """Markdown: rows are trainings and tasks, columns what is evaluated with; percent right, and the paired difference
    to nano as shipped in points with its 95 % interval."""
    from vtprune_eval.results.stats import paired_difference

    lines = ["| trained with | seed | task | " + " | ".join(ARMS) + " |", "|---" * (3 + len(ARMS)) + "|"]
    start = accuracies(args.out / "eval-start")
    for name in ["start", *(f"{arm}-{seed}" for seed in range(args.seeds) for arm in CROSSED)]:
        if not (args.out / f"eval-{name}" / "summary.json").exists():
            continue
        own = accuracies(args.out / f"eval-{name}")
        arm, _, seed = name.partition("-")
        for task in TASKS:
            cells = []
            for method in ARMS:
                if (task, method) not in own:
                    cells.append("-")
                    continue
                mine, base = own[task, method], start[task, method]
                text = f"{100 * sum(mine) / len(mine):.1f}"
                if name != "start":
                    change, low, high = paired_difference(mine, base)
                    text += f" ({100 * change:+.1f}; {100 * low:+.1f} to {100 * high:+.1f})"
                cells.append(text)
            shown = "nano as shipped" if name == "start" else arm
            lines.append(f"| {shown} | {seed or '-'} | {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Train and evaluate what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="pages.jsonl of scripts/training_data.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=4, help="pages per step, six questions each")
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
            for arm in CROSSED:
                evaluate(args, train(args, arm, seed), f"{arm}-{seed}", CROSSED[arm])
                print(table(args), flush=True)
    print(table(args))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
