"""What the profiler costs: ``python scripts/bench/profiler_cost.py [--model nano] [--limit 30] [--device cpu]``.

Each sample of the mini suite is answered four times in turn (the order rotates), per method: with ``--profile full``,
``light`` and ``off``, and with no clock, no memory counter and no FLOPs at all (``none``, which only this bench has).
Printed: total time over that of ``none`` with 95 % bootstrap intervals over samples; beside it the sum of the readings'
own times, which other work on the machine does not blur. The promise is 1 %; the exit code is 1 where that sum is
above it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PROMISE_PCT = 1.0
MODES = ("full", "light", "off", "none")


class NoClock:
    """A stage clock that looks at no clock."""

    def __init__(self, *_: Any) -> None:
        self.ms: dict[str, float] = defaultdict(float)
        self._stage = nullcontext()

    def now(self) -> int:
        """Zero."""
        return 0

    def stage(self, name: str) -> Any:
        """A body that is not timed."""
        return self._stage


class NoMemory:
    """A memory counter that counts nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def reset(self) -> None:
        """Nothing to forget."""

    def read(self) -> int:
        """Zero."""
        return 0


@contextmanager
def unmeasured() -> Iterator[None]:
    """The pipeline without its instruments."""
    from vtprune_eval.pipeline import generate

    names = {"StageClock": NoClock, "PeakMemory": NoMemory, "flops_of": lambda dims, counts: {}}
    old = {name: getattr(generate, name) for name in names}
    for name, value in names.items():
        setattr(generate, name, value)
    try:
        yield
    finally:
        for name, value in old.items():
            setattr(generate, name, value)


def answer(pipeline: Any, sample: Any, mode: str, gpu: Any) -> float:
    """Seconds of one answer in one mode, the profiler included."""
    start = time.perf_counter()
    if mode == "none":
        pipeline.run(sample)
        return time.perf_counter() - start
    if mode == "full":
        gpu.start()
    pipeline.run(sample)
    if mode == "full":
        gpu.stop()
        gpu.process_bytes()
    return time.perf_counter() - start


def spans(pipeline: Any, samples: Sequence[Any], gpu: Any) -> np.ndarray:
    """Seconds, ``(n_samples, n_modes)``; the order of the modes rotates from sample to sample."""
    pipeline.run(samples[0])
    out = np.empty((len(samples), len(MODES)))
    for row, sample in enumerate(samples):
        for step in range(len(MODES)):
            number = (row + step) % len(MODES)
            with unmeasured() if MODES[number] == "none" else nullcontext():
                out[row, number] = answer(pipeline, sample, MODES[number], gpu)
    return out


def excess(seconds: np.ndarray, mode: int) -> tuple[float, float, float]:
    """Percent by which a mode's median exceeds that of ``none``, with its 95 % interval over samples."""
    ratio = seconds[:, mode] / seconds[:, MODES.index("none")]
    draws = np.random.default_rng(0).integers(0, len(ratio), (2000, len(ratio)))
    low, high = np.percentile(np.median(ratio[draws], 1), [2.5, 97.5])
    return tuple(float(100 * (x - 1)) for x in (np.median(ratio), low, high))  # type: ignore[return-value]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print one table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="nano")
    p.add_argument("--weights", default="hub", choices=("hub", "random"))
    p.add_argument("--device", default="cpu")
    p.add_argument("--methods", default="full@100,pixelprune@25,fastv@25,guikv@25", help="METHOD@BUDGET,...")
    p.add_argument("--tasks", default="mini-grounding,mini-doc,mini-nav")
    p.add_argument("--limit", type=int, default=10, help="samples per task (default 10)")
    given = p.parse_args(argv)
    if given.limit < 1:
        p.error("--limit is at least 1")
    import torch

    from vtprune_eval.benchmarks.tasks import load_task
    from vtprune_eval.budget import Budget
    from vtprune_eval.errors import UserError
    from vtprune_eval.models import load_model
    from vtprune_eval.pipeline.generate import Pipeline
    from vtprune_eval.profiling.gpu import open_gpu
    from vtprune_eval.profiling.own_cost import measure_own_cost
    from vtprune_eval.registry import make_method

    try:
        adapter = load_model(given.model, weights=given.weights, device=given.device)
        cells = [(m, Budget.parse(b or "100")) for m, _, b in (c.partition("@") for c in given.methods.split(","))]
        methods = [make_method(m) for m, _ in cells]
        samples = [s for t in given.tasks.split(",") for s in load_task(t, given.limit).samples]
    except UserError as error:
        print(f"profiler_cost.py: {error}", file=sys.stderr)
        return 2
    gpu = open_gpu(given.device, "full")
    own = measure_own_cost([torch.device(given.device)], gpu)
    n_layers = len(adapter.text.layers)
    print(
        f"{given.model} on {given.device}, {torch.get_num_threads()} threads, {len(samples)} samples; GPU: "
        f"{gpu.reason or 'read'}\nreadings (us): a stage {own.stage_us:.2f}, peak memory {own.memory_us:.1f}, FLOPs "
        f"{own.flops_us:.1f}, GPU {own.gpu_us:.1f}\n\n| cell | ms per sample | full | light | off | readings alone, "
        "at most |\n|---|---|---|---|---|---|"
    )
    worst = 0.0
    for (name, budget), method in zip(cells, methods, strict=True):
        seconds = spans(Pipeline(adapter, method, budget), samples, gpu)
        middle = 1000 * float(np.median(seconds[:, MODES.index("none")]))
        share = 100 * own.sample_ms(n_layers) / middle
        worst = max(worst, share)
        shown = ["{:+.1f} % [{:+.1f}, {:+.1f}]".format(*excess(seconds, MODES.index(m))) for m in MODES[:3]]
        print(
            f"| {name} at {budget} | {middle:.1f} | {' | '.join(shown)} | {own.sample_ms(n_layers):.2f} ms, "
            f"{share:.2f} % |",
            flush=True,
        )
    gpu.close()
    return int(worst > PROMISE_PCT)


if __name__ == "__main__":
    raise SystemExit(main())
