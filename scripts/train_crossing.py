"""Trained with some tokens, evaluated with others: PixelPrune's Tables 3, 5 and 11 on nano, controls at matched tokens.

    python scripts/training_data.py --out DATA
    python scripts/train_crossing.py --data DATA/pages.jsonl --out TUNED --steps 40 --seeds 3
    python scripts/train_crossing.py --data DATA/pages.jsonl --out JOINT --start joint --steps 200 --lr 1e-3 \
        --export-every 50 --compare-full 1 --seeds 3
    python scripts/training_results.py --tuned TUNED --joint JOINT

Every training of a seed starts from the same weights (``--start``: the embedded nano, or a folder of
``scripts/nano_start.py`` drawn with that seed) and sees the same samples in the same order; only the method in the loop
differs. Each result is evaluated with all tokens and with its own method, that of all tokens with every method that is
trained; ``random`` and ``resize`` keep as many tokens per image as PixelPrune. With ``--export-every`` the start and
the models on the way are evaluated in the token mode of their training (Table 11). Stopped and started again, it goes
on where it was.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nano_start import REDRAWN, write_start

ARMS = ("full", "pixelprune", "random", "resize")
TEACHER = "kd"  # PixelPrune's tokens with a full-token teacher, besides; only where there is a model to teach
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


def start_of(args: argparse.Namespace, seed: int) -> Path | None:
    """The folder that the trainings of a seed start from, None for nano as shipped."""
    if args.start == "shipped":
        return None
    folder = args.out / f"start-{seed}"
    if not (folder / "preprocessor_config.json").exists():
        write_start(folder, args.start, seed)
    return folder


def train(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """One training; returns its folder."""
    out, start = args.out / f"{arm}-{seed}", start_of(args, seed)
    if not (out / "training" / "summary.json").exists():
        compared = args.compare_full if arm == "pixelprune" and seed == 0 else 0
        call(
            *("train", "--model", "nano", "--data", str(args.data), "--budget", "auto"),
            *(() if start is None else ("--model-path", str(start))),
            *(("--method", "pixelprune", "--teacher", "full") if arm == TEACHER else ("--method", arm)),
            *("--steps", str(args.steps), "--batch", str(args.batch), "--questions", "6", "--lr", str(args.lr)),
            *("--warmup", "10", "--seed", str(seed), "--device", "cpu", "--save-every", "25", "--out", str(out)),
            *("--export-every", str(args.export_every), "--compare-full", str(compared)),
        )
    return out


def evaluate(args: argparse.Namespace, folder: Path | None, name: str, methods: tuple[str, ...] = ARMS) -> None:
    """Answers of one model with some methods."""
    out = args.out / f"eval-{name}"
    if (out / "summary.json").exists():
        return
    more = [] if args.limit is None else ["--limit", str(args.limit)]
    where = [] if folder is None else ["--model-path", str(folder)]
    full = () if "full" in methods else ("--no-full",)
    call(
        *("--model", "nano", *where, "--method", ",".join(methods), *full, "--budget", "auto"),
        *("--tasks", ",".join(TASKS), *more, "--device", "cpu", "--timings", "0", "--profile", "off", "-q"),
        *("--out", str(out)),
    )


def along(args: argparse.Namespace, arm: str, seed: int) -> None:
    """Answers of the start and of the models on the way, in the token mode of their training."""
    if not args.export_every or arm not in args.along.split(","):
        return
    for step in range(0, args.steps, args.export_every):
        folder = args.out / f"{arm}-{seed}" / f"step-{step}" if step else start_of(args, seed)
        evaluate(args, folder, f"{arm}-{seed}-step-{step}", (arm,))


def main() -> int:
    """Train and evaluate what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pages.jsonl of scripts/training_data.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", choices=("shipped", *REDRAWN), default="shipped")
    parser.add_argument("--arms", help="trainings, comma-separated (default full,pixelprune,random,resize, and kd)")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=2, help="pages per step, six questions each")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=60, help="samples per task in evaluation")
    parser.add_argument("--export-every", type=int, default=0, help="steps between models that are evaluated as well")
    parser.add_argument("--along", default="full,pixelprune", help="arms whose models on the way are evaluated")
    parser.add_argument(
        "--compare-full", type=int, default=0, help="time every N-th step of pixelprune, seed 0, in turn"
    )
    args = parser.parse_args()
    arms = args.arms.split(",") if args.arms else [*ARMS, *([TEACHER] if args.start == "shipped" else [])]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "settings.json").write_text(json.dumps({k: str(v) for k, v in vars(args).items()}, indent=1))
    if args.start == "shipped":
        evaluate(args, None, "start")
    for seed in range(args.seeds):
        for arm in arms:
            methods = tuple(method for method in CROSSED[arm] if method in {"full", *arms} or arm == TEACHER)
            evaluate(args, train(args, arm, seed), f"{arm}-{seed}", methods)
            along(args, arm, seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
