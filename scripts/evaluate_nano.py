"""Measure a nano folder on the mini suite, with blind baselines: ``python scripts/evaluate_nano.py [--limit N]``.

``no image`` shows a grey screen of the same size; ``no history`` shows the last screenshot only and hides the actions
before it. Prints the Markdown tables of the model card.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from vtprune_eval.benchmarks.definitions import DEFAULT_TASKS
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.budget import Budget
from vtprune_eval.commands.options import at_least_one
from vtprune_eval.errors import UserError
from vtprune_eval.methods.full import Full
from vtprune_eval.models import load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.results.stats import mean_interval
from vtprune_eval.sample import Sample


def without_image(sample: Sample, folder: Path) -> Sample:
    """The same question about grey screens of the same sizes."""
    paths = []
    for path in sample.images:
        with Image.open(path) as image:
            grey = folder / f"{image.width}x{image.height}.png"
            if not grey.exists():
                Image.new("RGB", image.size, (128, 128, 128)).save(grey)
        paths.append(grey)
    return dataclasses.replace(sample, images=tuple(paths))


def without_history(sample: Sample, folder: Path) -> Sample:
    """The last screenshot alone, and no earlier actions in the text."""
    head, mark, _ = sample.question.partition(" history: ")
    question = f"{head} history: none. next?" if mark else sample.question
    return dataclasses.replace(sample, images=sample.images[-1:], question=question)


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default=None, help="hub-format folder (default: the embedded one)")
    parser.add_argument("--limit", type=at_least_one, default=None)
    args = parser.parse_args()
    try:
        adapter = load_model("nano", path=args.path)
    except UserError as error:
        parser.error(str(error).replace("--model-path", "--path"))
    kinds = {"full": lambda s, f: s, "no image": without_image, "no history": without_history}
    rows, groups = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name in DEFAULT_TASKS:
            task = load_task(name, args.limit)
            pipeline = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=task.max_new_tokens)
            cells = []
            for kind, change in kinds.items():
                if kind == "no history" and name != "mini-nav":
                    cells.append("-")
                    continue
                scores, clusters, parts = [], [], defaultdict(list)
                for sample in task.samples:
                    shown = change(sample, Path(scratch))
                    out = pipeline.run(shown)
                    frame = {
                        "coordinates": adapter.coordinates,
                        "model_sizes": out.model_sizes,
                        "file_sizes": out.file_sizes,
                    }
                    score = task.score(sample, out.text, frame).value
                    scores.append(score)
                    clusters.append(sample.cluster or sample.id)
                    for key in ("target_kind", "platform", "kind", "step", "needs_history"):
                        if key in sample.meta:
                            parts[f"{key}={sample.meta[key]}"].append(score)
                mean, low, high = mean_interval(scores, clusters)
                cells.append(f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
                if kind == "full":
                    groups += [
                        f"| {name} | {key} | {len(v)} | {100 * sum(v) / len(v):.1f} |" for key, v in parts.items()
                    ]
            rows.append(f"| {name} | {len(task.samples)} | {' | '.join(cells)} |")
            print(rows[-1], file=sys.stderr, flush=True)
    print("| task | n | all tokens | no image | no history |\n|---|---|---|---|---|")
    print("\n".join(rows))
    print("\n| task | group | n | accuracy |\n|---|---|---|---|")
    print("\n".join(groups))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
