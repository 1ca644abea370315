"""Measure a micro folder on the larger mini suite: ``python scripts/evaluate_micro.py [--path FOLDER] [--limit N]``.

What makes a model an instrument, each as a row of a Markdown table: the same pages at factors 0.7, 1 and 1.4; halved by
resizing; PixelPrune against random at equal tokens; the oracle at 20 %; and no image at all (a grey screen of the same
size). Prints one line of JSON per cell on the way; with ``--out`` they are kept, and cells that are there are not
measured again: those of other weights, or of another number of samples, are others and stand in no table with these.
``--check`` then says of every rule of an instrument (:mod:`micro.accept`) whether it passed, and exits with 1 where one
did not.

Navigation is measured apart, on the mini suite's small screens, also with the last alone and no earlier actions:

    python scripts/evaluate_micro.py --tasks mini-nav --cells "full;full, factor 1.4;no image;no history"
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluate_nano import without_history, without_image
from micro.accept import accepted
from PIL import Image

from vtprune_eval.benchmarks.tasks import Task, load_task
from vtprune_eval.budget import Budget
from vtprune_eval.commands.options import at_least_one
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.methods.full import Full
from vtprune_eval.methods.oracle import Oracle
from vtprune_eval.methods.pixelprune import PixelPrune
from vtprune_eval.methods.random import Random
from vtprune_eval.methods.resize import Resize
from vtprune_eval.models import fingerprint, folder_of, load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.results.stats import mean_interval
from vtprune_eval.sample import Sample

TASKS = ("mini-large-grounding", "mini-large-doc")
Change = Callable[[Sample, Path], Sample]


def at_factor(factor: float) -> Change:
    """The same page, its sides times ``factor`` and rounded to whole blocks of 32 px."""

    def change(sample: Sample, folder: Path) -> Sample:
        paths, target = [], copy.deepcopy(sample.target)
        for path in sample.images:
            with Image.open(path) as image:
                size = tuple(max(64, round(side * factor / 32) * 32) for side in image.size)
                shown = folder / f"{path.parent.parent.parent.name}-{path.stem}-{factor}.png"
                if not shown.exists():
                    image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(shown)
                x, y = (new / old for new, old in zip(size, image.size, strict=True))
            paths.append(shown)
        boxed = target.get("action", target)  # a step's box is its action's, on the last screen
        if "box_xyxy" in boxed:
            boxed["box_xyxy"] = [v * f for v, f in zip(boxed["box_xyxy"], (x, y, x, y), strict=True)]
        return dataclasses.replace(sample, images=tuple(paths), target=target)

    return change


def same(sample: Sample, folder: Path) -> Sample:
    """The sample as it is."""
    return sample


# Name of a row: method, budget, change of the sample.
CELLS: dict[str, tuple[Method, str, Change]] = {
    "full": (Full(), "100", same),
    "full, factor 0.7": (Full(), "100", at_factor(0.7)),
    "full, factor 1.4": (Full(), "100", at_factor(1.4)),
    "resize 50 %": (Resize(), "50", same),
    "resize 25 %": (Resize(), "25", same),
    "pixelprune": (PixelPrune(), "auto", same),
    "random, as many": (Random(), "like:pixelprune", same),
    "resize, as many": (Resize(), "like:pixelprune", same),
    "oracle 20 %": (Oracle(), "20", same),
    "random 20 %": (Random(), "20", same),
    "no image": (Full(), "100", without_image),
    "no history": (Full(), "100", without_history),
}


def measure(adapter: Any, task: Task, name: str, scratch: Path) -> dict[str, Any]:
    """One cell: accuracy with its 95 % interval over pages, share of tokens kept, accuracy by group."""
    method, budget, change = CELLS[name]
    pipeline = Pipeline(adapter, method, Budget.parse(budget), max_new_tokens=task.max_new_tokens)
    scores, clusters, kept, groups = [], [], [], defaultdict(list)
    for original in task.samples:
        sample = change(original, scratch)
        out = pipeline.run(sample)
        frame = {
            "coordinates": adapter.coordinates,
            "model_sizes": out.model_sizes,
            "file_sizes": out.file_sizes,
        }
        score = task.score(sample, out.text, frame).value or 0.0
        scores.append(score)
        clusters.append(original.cluster or original.id)
        blocks = sum(w * h // 1024 for w, h in out.file_sizes)
        kept.append(sum(len(k) for k in out.kept) / blocks)
        for key in ("target_kind", "tokens", "step"):
            if key in sample.meta:
                groups[f"{key}={sample.meta[key]}"].append(score)
    mean, low, high = mean_interval(scores, clusters)
    return {
        "task": task.name,
        "cell": name,
        "n": len(scores),
        "accuracy": round(100 * mean, 1),
        "ci95": [round(100 * low, 1), round(100 * high, 1)],
        "kept": round(100 * sum(kept) / len(kept), 1),
        "scores": scores,
        "clusters": clusters,
        "groups": {k: f"{100 * sum(v) / len(v):.0f} ({len(v)})" for k, v in sorted(groups.items())},
    }


def asked(cell: str, task: str) -> bool:
    """Whether a cell means something on a task: the oracle needs boxes, and only episodes have a history."""
    return not (cell.startswith("oracle") and task.endswith("doc")) and (cell != "no history" or task.endswith("nav"))


def same_question(rows: Iterable[dict[str, Any]], weights: str, n: dict[str, int]) -> list[dict[str, Any]]:
    """The rows of a file that are of these weights (earlier files do not say) and of as many samples of a task."""
    return [r for r in rows if r.get("weights", weights) == weights and r["n"] == n.get(r["task"])]


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default=None, help="hub-format folder (default: the embedded one)")
    parser.add_argument("--model", default="micro", help="short name that says how answers are read")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--cells", default=";".join(CELLS), help=f"of {'; '.join(CELLS)}")
    parser.add_argument("--limit", type=at_least_one, default=None)
    parser.add_argument("--out", type=Path, help="file of JSON lines that grows, and is gone on with")
    parser.add_argument("--check", action="store_true", help="judge whether the model is an instrument")
    args = parser.parse_args()
    unknown = [cell for cell in args.cells.split(";") if cell not in CELLS]
    if unknown:
        parser.error(f"--cells: {', '.join(unknown)}: none of {'; '.join(CELLS)}")
    try:
        adapter = load_model(args.model, path=args.path)
        weights = fingerprint(folder_of(args.model, args.path)[0])
        tasks = [load_task(name, args.limit) for name in args.tasks.split(",")]
    except UserError as error:
        parser.error(str(error).replace("--model-path", "--path"))
    there = args.out.read_text().splitlines() if args.out and args.out.exists() else []
    done = same_question(map(json.loads, there), weights, {task.name: len(task.samples) for task in tasks})
    with tempfile.TemporaryDirectory() as scratch:
        for task in tasks:
            for cell in args.cells.split(";"):
                if not asked(cell, task.name):
                    continue
                if any((row["task"], row["cell"]) == (task.name, cell) for row in done):
                    continue
                row = {**measure(adapter, task, cell, Path(scratch)), "weights": weights}
                done.append(row)
                shown = {k: v for k, v in row.items() if k not in {"scores", "clusters"}}
                print(json.dumps(shown), file=sys.stderr, flush=True)
                if args.out:
                    with args.out.open("a") as stream:
                        stream.write(json.dumps(row) + "\n")
    print("| task | cell | n | tokens kept | accuracy |\n|---|---|---|---|---|")
    for row in done:
        low, high = row["ci95"]
        print(f"| {row['task']} | {row['cell']} | {row['n']} | {row['kept']} % | {row['accuracy']} [{low}, {high}] |")
    if not args.check:
        return 0
    lines, whole = accepted(done)
    print("\n| task | rule | difference (points) | verdict |\n|---|---|---|---|")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print(f"\n{'accepted: an instrument' if whole else 'not accepted'}")
    return 0 if whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
