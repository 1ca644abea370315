"""What batched decoding costs and how far its logits are from those of decoding alone.

``step``       one decode step of N branches over one step of a single branch, in processor time
``deviation``  largest difference of a batched step's logits from the same step alone, as a share of the best logit's
               size, over all branches and steps; the pool's margin must be well above it
``again``      branches of the mini suite that were decoded again because a step was too close to call, and whether all
               ids equal those of ``--share off``; the steps that this took beside all new tokens, those in doubt among
               them, and the largest lead of a best token that decoding alone overturned (the margin's unit)

    python scripts/bench/batched_decode.py [--branches 32] [--steps 8] [--model nano|mid] [--dtype float32|bfloat16]
    python scripts/bench/batched_decode.py --suite [--limit 20] [--dtype bfloat16]

``--suite`` goes on where it stopped, in the file that ``--out`` names; after a change of code start with another file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.bench.pipeline_vs_generate import mid_model
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.commands.options import at_least_one
from vtprune_eval.errors import SampleError
from vtprune_eval.methods.full import Full
from vtprune_eval.models import load_model
from vtprune_eval.models.base import VlmAdapter
from vtprune_eval.pipeline.answer import ANSWER
from vtprune_eval.pipeline.batch import MARGIN, Branch, _Lane
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.decode import Decoder
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.pipeline.sweep import Sweep
from vtprune_eval.registry import make_method
from vtprune_eval.sample import Sample

PART = 20  # samples of a part of --suite
COUNTED = ("tokens", "steps_again", "doubts", "overturned")  # of the pool
# Of every stage; the budgets are those that methods inside nano's five decoder layers can meet.
METHODS = (
    "pixelprune,conncomp,stride,random,resize,tome,divprune,cdpruner,scope,visionzip,vispruner,focusui,hiprune,holov,"
    "prumerge,random-tokens,evs,fastv,sparsevlm,dart,pyramiddrop,random-layer,vscan-two-stage,snapkv,guikv,h2o,pyramidkv,"
    "adakv,streamingllm,vlcache"
)


def branches_of(adapter: VlmAdapter, n: int, room: int) -> list[Branch]:
    """Prompts of the mini suite, prefilled; real lengths, and positions of their own."""
    task = load_task("mini-nav")
    pipeline = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=room)
    out = []
    for i in range(n):
        sample = task.samples[i * len(task.samples) // n]
        clock = StageClock(adapter.device)
        images = load_images(sample, adapter.images, clock, keep_files=True)
        budgets = pipeline.budgets(sample, images, clock)
        entered = pipeline.enter(sample, images, budgets, clock)
        begun = pipeline.begin(entered, budgets, clock)
        cache = KVCache(len(adapter.text.layers), room)
        result = pipeline.prefill(entered, begun, budgets, cache, (), clock)
        first = Decoder(adapter, cache, begun.next_position, adapter.dims.q_heads).first(result.last)
        out.append(Branch(cache, begun.next_position, first, room, lambda *_: (), [first]))
    return out


@torch.inference_mode()
def measure(adapter: VlmAdapter, n: int, steps: int) -> dict[str, float]:
    """Ratio of a batched step to a single one, and the largest relative deviation of its logits."""
    branches = branches_of(adapter, n, 4 * steps + 4)
    lane = _Lane(adapter, n)
    for branch in branches:
        lane.take(branch)
    decoders = [Decoder(adapter, b.cache.fork_for_decoding(), b.position, adapter.dims.q_heads) for b in branches]
    together, alone, worst = [], [], 0.0
    for _ in range(steps):
        start = time.process_time()
        batched = lane.logits()
        middle = time.process_time()
        fed = [b.ids[-1] for b in branches]
        own = [decoder.logits(token) for decoder, token in zip(decoders, fed, strict=True)]
        end = time.process_time()
        together.append(middle - start)
        alone.append((end - middle) / n)
        one = torch.stack(own).float()
        worst = max(worst, float(((batched.float() - one).abs().amax(1) / one.abs().amax(1)).max()))
        for branch, row in zip(branches, one, strict=True):
            branch.ids.append(int(row.argmax()))
    return {
        "branches": n,
        "step_ms_batched": 1e3 * median(together),
        "step_ms_alone": 1e3 * median(alone),
        "steps_of_one": median(together) / median(alone),
        "per_branch_speedup": n * median(alone) / median(together),
        "deviation": worst,
        "margin": MARGIN[adapter.dtype],
    }


@torch.inference_mode()
def compared(pipelines: list[Pipeline], samples: Sequence[Sample]) -> dict[str, float]:
    """Every cell on some samples, alone and together: ids that differ, and how the others were decoded."""
    sweep = Sweep(pipelines, max_branch_bytes=1 << 32, decode_batch=32)
    together = []
    for sample in samples:
        images = load_images(sample, pipelines[0].adapter.images, StageClock(), keep_files=True)
        together += sweep.run(sample, images, range(len(pipelines)))
    together += sweep.drain()
    found: dict[str, float] = {"samples": len(samples), "answers": 0, "differ": 0, "without_answer": 0}
    found |= dict.fromkeys(COUNTED, 0)
    if sweep._pool is not None:
        found |= {key: getattr(sweep._pool, key) for key in COUNTED}
    for answer in together:
        ids = None if isinstance(answer.outcome, Exception) else answer.outcome.ids
        try:
            alone: tuple[int, ...] | None = pipelines[answer.cell].run(answer.sample).ids
        except SampleError:  # a budget that the sample cannot meet fails together and alone
            alone = None
        found["answers"] += 1
        found["without_answer"] += alone is None
        found["differ"] += ids != alone
        found[answer.decoded] = found.get(answer.decoded, 0) + 1
        if answer.shared == ANSWER:
            found["of_another_cell"] = found.get("of_another_cell", 0) + 1
    return found


def suite(
    adapter: VlmAdapter,
    methods: list[str],
    budgets: list[str],
    reading: str,
    parts: Iterator[tuple[str, int]],
    out: Path,
) -> dict[str, float]:
    """The counts of :func:`compared` over all ``parts`` (task, first sample).

    ``out`` gets a line of JSON per part, so that what was interrupted goes on where it stopped.
    """
    cells = [(m, b) for m in methods for b in (["100"] if m == "full" else budgets)]
    settings = [str(adapter.dtype), cells, reading, COUNTED]
    pipelines = [
        Pipeline(
            adapter,
            tuple(make_method(p, {}) for p in m.split("+")),
            Budget.parse(b, reading=reading),  # type: ignore[arg-type]
            max_new_tokens=24,
        )
        for m, b in cells
    ]
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(r["task"], r["first"]): r for r in lines if r["settings"] == json.loads(json.dumps(settings))}
    total: dict[str, float] = {}
    for task, first in parts:
        row = known.get((task, first))
        if row is None:
            samples = [s for i, s in enumerate(load_task(task).samples) if first <= i < first + PART]
            row = {"task": task, "first": first, "settings": settings, "found": compared(pipelines, samples)}
            with out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(f"{task} {first}: {row['found']}", file=sys.stderr, flush=True)
        for key, n in row["found"].items():
            total[key] = max(total.get(key, 0), n) if key == "overturned" else total.get(key, 0) + n
    return total


def parts_of(tasks: Sequence[str], limit: int | None) -> Iterator[tuple[str, int]]:
    """Parts of :data:`PART` samples, the tasks in turn."""
    sizes = {task: len(load_task(task).samples) for task in tasks}
    sizes = {task: n if limit is None else min(n, limit) for task, n in sizes.items()}
    for first in range(0, max(sizes.values()), PART):
        yield from ((task, first) for task, n in sizes.items() if first < n)


def main() -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("nano", "mid"), default="nano")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--branches", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--suite", action="store_true")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--budgets", default="45,60,80")
    parser.add_argument("--tasks", default="mini-grounding,mini-doc,mini-nav")
    parser.add_argument("--reading", choices=("equal", "paper"), default="equal")
    parser.add_argument("--limit", type=at_least_one, help=f"samples per task, rounded up to parts of {PART}")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/batched_decode.jsonl"), help="file that --suite goes on with"
    )
    given = parser.parse_args()
    if given.model == "mid" and given.dtype != "float32":
        parser.error("the mid-size model is measured in float32")
    if given.suite and given.model != "nano":
        parser.error("--suite answers with nano; leave --model out")
    torch.set_num_threads(1)
    adapter = mid_model() if given.model == "mid" else load_model("nano", dtype=given.dtype)
    if given.suite:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        parts = parts_of(given.tasks.split(","), given.limit)
        methods, budgets = given.methods.split(","), given.budgets.split(",")
        result: dict[str, object] = dict(suite(adapter, methods, budgets, given.reading, parts, given.out))
    else:
        result = dict(measure(adapter, given.branches, given.steps))
    print(json.dumps({"model": given.model, "dtype": given.dtype, **result}))
    return 1 if result.get("differ") or (given.suite and not result.get("answers")) else 0


if __name__ == "__main__":
    raise SystemExit(main())
