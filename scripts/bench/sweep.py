"""What sharing saves: cache methods that branch from one prefill, and selectors behind one ViT.

Run: ``python scripts/bench/sweep.py [--samples N] [--threads N]`` (nano on mini-nav). Per sample, in one process and
one after the other: ``full``; the sweep of 4 cache methods x 8 budgets; the post-ViT selectors x 8 budgets shared; the
same cells one by one. Answers, kept blocks and counts of the shared cells are compared with the separate runs.

Promises, and exit code 1 where one is missed:

- cache methods: time of the whole sweep without its decoding, over the time of one ``full`` run, at most 3;
- selectors: time of the shared cells over that of the separate ones, at most 0.6.

Images are decoded and resized inside every measured time; nothing is read ahead or cached.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

BUDGETS = ("1", "3", "5", "10", "15", "20", "40", "80")
CACHE_METHODS = ("guikv", "snapkv", "pyramidkv", "vlcache")
SELECTORS = ("divprune", "dart", "visionzip", "hiprune", "prumerge", "cdpruner")
CACHE_LIMIT, SELECTOR_LIMIT = 3.0, 0.6
WARM_UP = 2


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what ``run`` gave."""
    start = time.perf_counter()
    out = run()
    return time.perf_counter() - start, out


def plain(outcome: Any) -> Any:
    """An outcome without what the clock and the process's memory give."""
    return replace(outcome, times=None, peak_bytes=0)


def interval(top: Sequence[float], bottom: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of sums over samples, and its 95 % bootstrap interval."""
    a, b = np.array(top), np.array(bottom)
    draws = np.random.default_rng(0).integers(0, len(a), (2000, len(a)))
    low, high = np.quantile(a[draws].sum(1) / b[draws].sum(1), (0.025, 0.975))
    return float(a.sum() / b.sum()), float(low), float(high)


def main() -> int:
    """Measure, print, compare with the promises."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    import torch

    from vtprune_eval.benchmarks.tasks import load_task
    from vtprune_eval.clock import StageClock
    from vtprune_eval.models import load_model
    from vtprune_eval.pipeline.generate import Pipeline
    from vtprune_eval.pipeline.images import load_images
    from vtprune_eval.pipeline.sweep import Sweep
    from vtprune_eval.runner.config import from_mapping

    torch.set_num_threads(given.threads)
    adapter = load_model("nano", weights="hub", path=None, dtype="float32", device="cpu", seed=0, attn="sdpa")
    task = load_task("mini-nav", given.samples + WARM_UP)

    def cells(methods: tuple[str, ...], budgets: tuple[str, ...]) -> list[Any]:
        spec = from_mapping({"model": "nano", "methods": list(methods), "budgets": list(budgets)})
        return [
            Pipeline(adapter, spec.make(c.method), spec.budget(c), max_new_tokens=task.max_new_tokens)
            for c in spec.cells()
        ]

    (full,) = cells(("full",), ("100",))
    cache, selectors = cells(CACHE_METHODS, BUDGETS), cells(SELECTORS, BUDGETS)

    def together(pipelines: list[Any], sample: Any) -> list[Any]:
        sweep = Sweep(pipelines, max_branch_bytes=4 * 10**9)
        images = load_images(sample, adapter.images, StageClock(adapter.device))
        answers = sorted(sweep.run(sample, images, range(len(pipelines))), key=lambda a: a.cell)
        assert not sweep.failures, sweep.failures[0]
        return [a.outcome for a in answers]

    seconds: dict[str, list[float]] = {k: [] for k in ("full", "cache", "selectors", "separate")}
    for number, sample in enumerate(task.samples):
        times = {}
        times["full"], _ = timed(lambda s=sample: full.run(s))
        whole, found = timed(lambda s=sample: together(cache, s))
        # The branches of one prefill share a clock, so that the last one holds the decoding of all.
        times["cache"] = whole - max(o.times.decode_ms for o in found) / 1000
        assert [plain(o) for o in found] == [plain(c.run(sample)) for c in cache], f"{sample.id}: cache methods differ"
        times["selectors"], found = timed(lambda s=sample: together(selectors, s))
        times["separate"], alone = timed(lambda s=sample: [c.run(s) for c in selectors])
        assert [plain(o) for o in found] == [plain(o) for o in alone], f"{sample.id}: selectors differ"
        if number >= WARM_UP:
            for name, value in times.items():
                seconds[name].append(value)
    print(
        f"nano, mini-nav, {given.samples} samples, {given.threads} thread(s), torch {torch.__version__}; outcomes "
        "equal those of separate runs"
    )
    missed = 0
    for title, top, bottom, limit in (
        (f"{len(cache)} cells of cache methods without decoding, over one full run", "cache", "full", CACHE_LIMIT),
        (
            f"{len(selectors)} cells of post-ViT selectors shared, over separate runs",
            "selectors",
            "separate",
            SELECTOR_LIMIT,
        ),
    ):
        ratio, low, high = interval(seconds[top], seconds[bottom])
        print(
            f"{title}: {ratio:.2f}x [{low:.2f}, {high:.2f}] (promised {limit:g}x); "
            f"{1000 * np.mean(seconds[top]):.0f} ms over {1000 * np.mean(seconds[bottom]):.0f} ms per sample"
        )
        missed += ratio > limit
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
