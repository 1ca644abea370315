"""What the measuring itself costs: time per reading, taken on this machine, and a bound per sample from it.

Not in it: what a GPU loses because it is waited for at the edges of the stages, which only a run without any clock
shows (``scripts/bench/profiler_cost.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .gpu import Gpu

if TYPE_CHECKING:
    import torch

# Stages of a sample that are entered whatever the method does; a method inside the decoder adds one per layer.
STAGES = 14
ROUNDS = 5  # the fastest of so many counts: another process only ever makes a reading slower


@dataclass(frozen=True)
class OwnCost:
    """Microseconds of one reading of each kind.

    Attributes:
        stage_us: entering and leaving a stage (two readings of the clock, an idle device synchronised).
        memory_us: resetting and reading the peak of one sample.
        flops_us: the FLOPs of one record of 28 layers.
        gpu_us: the GPU's readings of one sample, next to 0 without one.
    """

    stage_us: float
    memory_us: float
    flops_us: float
    gpu_us: float

    def sample_ms(self, n_layers: int) -> float:
        """At most this much of one sample's time, for a decoder of ``n_layers`` with a method in every layer."""
        flops_us = self.flops_us * n_layers / 28
        return ((STAGES + n_layers) * self.stage_us + self.memory_us + flops_us + self.gpu_us) / 1000

    def as_json(self) -> dict[str, float]:
        """Plain values for ``environment.json``."""
        return {k: round(v, 3) for k, v in asdict(self).items()}


def measure_own_cost(devices: Sequence[torch.device], gpu: Gpu) -> OwnCost:
    """Take every reading a few times; some milliseconds in all.

    Args:
        devices: that the model computes on.
        gpu: what is read of the GPU per sample.
    """
    from ..clock import StageClock
    from ..models.qwen3_vl_sizes import TRUE_DIMS
    from .flops import flops_of
    from .memory import PeakMemory
    from .plan import planned_counts

    clock, memory, dims = StageClock(*devices), PeakMemory(*devices), TRUE_DIMS["qwen3vl-2b"]
    counts = planned_counts(dims, ((22, 40),), 80, 16)

    def stage() -> None:
        with clock.stage("own"):
            pass

    def peak() -> None:
        memory.reset()
        memory.read()

    def readings() -> None:
        gpu.start()
        gpu.stop()
        gpu.process_bytes()

    return OwnCost(
        fastest_us(stage, 200),
        fastest_us(peak, 5),
        fastest_us(lambda: flops_of(dims, counts), 10),
        fastest_us(readings, 3),
    )


def fastest_us(call: Callable[[], Any], n: int) -> float:
    """Microseconds per call, the fastest of a few counts of ``n`` calls."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(n):
            call()
        best = min(best, (time.perf_counter_ns() - start) / n / 1000)
    return best


def sentence(cost: dict[str, float] | None, records: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """What a report says of the profiler; empty where nothing was timed.

    Args:
        cost: of ``environment.json``.
        records: of every cell.
    """
    timed = [[r for r in cell if r.get("times")] for cell in records]
    timed = [cell for cell in timed if cell]
    if not cost or not timed:
        return ""
    middle = [(sorted(r["times"]["e2e_ms"] for r in cell)[len(cell) // 2], cell) for cell in timed]
    fastest, cell = min(middle, key=lambda pair: pair[0])
    if fastest <= 0:
        return ""
    own = OwnCost(**cost).sample_ms(len(cell[0]["counts"]["layer_tokens"]))
    return (
        f"The profiler's own cost is at most {own:.2f} ms per sample, {100 * own / fastest:.2f} % of the fastest "
        "cell's time."
    )
