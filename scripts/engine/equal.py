"""Answers of vLLM beside those of the pipeline, in float32, on the embedded suite; a table for docs/engines.md.

``python scripts/engine/equal.py --samples 40`` (in the environment of ``make test-vllm``) takes so many samples of each
task, evenly spread; without it, all of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vtprune_eval.benchmarks.tasks import Task, load_task
from vtprune_eval.errors import SampleError
from vtprune_eval.integrations.vllm.engine import VllmEngine
from vtprune_eval.models import load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.spec import RunSpec

METHODS = (
    "full,pixelprune,random,stride,conncomp,resize,guipruner-tar,divprune,cdpruner,visionzip,hiprune,prumerge,"
    "pool,random-tokens,focusui"
)
BUDGETS = "10,25,40"
TASKS = ("mini-grounding", "mini-doc", "mini-nav")


@dataclass
class Row:
    """A cell on a task: samples, those with equal ids, those with equal kept tokens, and the others' names."""

    task: str
    method: str
    budget: str
    n: int = 0
    ids: int = 0
    kept: int = 0
    differ: tuple[str, ...] = ()


def spread(task: Task, n: int | None) -> list[Any]:
    """``n`` samples of a task, evenly spread; None for all."""
    total = len(task.samples)
    n = total if n is None else min(n, total)
    return [task.samples[i * total // n] for i in range(n)]


def compare(engine: VllmEngine, adapter: Any, spec: RunSpec, tasks: Iterable[Task], n: int | None) -> Iterable[Row]:
    """Rows of all cells of ``spec`` on ``n`` samples of every task."""
    for task in tasks:
        samples = spread(task, n)
        for cell in spec.cells():
            pipeline = Pipeline(
                adapter,
                spec.make(cell.method),
                spec.budget(cell),
                seed=spec.seed,
                max_new_tokens=task.max_new_tokens,
                copied=spec.copied,
            )
            row = Row(task.name, cell.method, cell.budget)
            for sample, outcome in engine.answer(cell, samples, task.max_new_tokens):
                row.n += 1
                try:
                    ours: Any = pipeline.run(sample)
                except SampleError as error:
                    ours = error
                if isinstance(outcome, Exception) or isinstance(ours, Exception):
                    same = kept = type(outcome) is type(ours) and str(outcome) == str(ours)
                else:
                    same, kept = outcome.ids == ours.ids, outcome.kept == ours.kept
                row.ids, row.kept = row.ids + same, row.kept + kept
                row.differ += () if same else (sample.id,)
            yield row


def main() -> int:
    """Compare and print; returns 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--budgets", default=BUDGETS)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--samples", type=int, help="of each task (default: all)")
    given = parser.parse_args()
    spec = from_mapping({"methods": given.methods, "budgets": given.budgets, "engine": "vllm"})
    engine, adapter = VllmEngine(spec), load_model("nano")
    tasks = [load_task(name) for name in given.tasks.split(",")]
    rows: list[Row] = []
    for row in compare(engine, adapter, spec, tasks, given.samples):
        rows.append(row)
        print(
            f"{row.task} {row.method} {row.budget}: {row.ids} of {row.n} ids, {row.kept} kept {row.differ}",
            file=sys.stderr,
            flush=True,
        )
    print(table(rows))
    print(
        f"\n{sum(r.ids for r in rows)} of {sum(r.n for r in rows)} answers have equal ids; "
        f"{engine.identity['engine']}, nano, float32."
    )
    return int(any(r.ids < r.n for r in rows))


def table(rows: Sequence[Row]) -> str:
    """Equal answers of all answers, a line per method and budget, a column per task."""
    tasks = list(dict.fromkeys(r.task for r in rows))
    lines = [f"| method | budget | {' | '.join(tasks)} |", "|---" * (2 + len(tasks)) + "|"]
    for method, budget in dict.fromkeys((r.method, r.budget) for r in rows):
        own = {r.task: r for r in rows if (r.method, r.budget) == (method, budget)}
        cells = [f"{own[t].ids} of {own[t].n}" for t in tasks]
        lines.append(f"| {method} | {'-' if method == 'full' else budget} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
