"""Which samples a step takes, and with which budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..budget import Budget
from ..errors import SampleError
from .examples import Example
from .learner import Item
from .spec import TrainSpec

if TYPE_CHECKING:
    from .loop import Built


def drawn_budget(spec: TrainSpec, place: int) -> Budget | None:
    """The budget that is drawn for a place of the endless stream of samples, None where the budget is fixed."""
    low, high = spec.drawn
    if low == high:
        return None
    value = np.random.default_rng((spec.seed, 1, place)).uniform(low, high)
    return Budget("percent", Fraction(min(float(value), 99.9)).limit_denominator(1000), reading="paper")


class Feed:
    """Micro-batches: which samples, is a function of the seed and the step alone.

    On a GPU the images of the next micro-batch are decoded and reduced in a thread; on a CPU that would only take the
    time from the model.
    """

    def __init__(self, spec: TrainSpec, built: Built, accelerator: Any) -> None:
        self._spec, self._built, self._accelerator = spec, built, accelerator
        self._pool = ThreadPoolExecutor(1) if accelerator.device.type == "cuda" else None
        self._waiting: dict[tuple[int, int], Any] = {}
        self._orders: dict[int, np.ndarray] = {}

    def numbers(self, step: int, part: int) -> list[int]:
        """Places in the endless stream of groups that micro-batch ``part`` of ``step`` takes in this process."""
        spec, world = self._spec, self._accelerator.num_processes
        first = (step * spec.accumulate + part) * world + self._accelerator.process_index
        return list(range(first * spec.batch, (first + 1) * spec.batch))

    def group(self, place: int) -> tuple[Example, ...]:
        """The group at a place of the stream: every pass over the data has an order of its own."""
        n = len(self._built.groups)
        epoch = place // n
        if epoch not in self._orders:
            self._orders = {epoch: np.random.default_rng((self._spec.seed, epoch)).permutation(n), **self._orders}
            self._orders = dict(list(self._orders.items())[:2])
        found: tuple[Example, ...] = self._built.groups[int(self._orders[epoch][place % n])]
        return found

    def budget(self, place: int) -> Budget | None:
        """The budget that is drawn for a place of the stream, None where the budget is fixed."""
        return drawn_budget(self._spec, place)

    def take(self, step: int, part: int) -> tuple[list[Item], float, list[dict[str, str]]]:
        """A micro-batch, the seconds that it took to prepare, and the samples that cannot be used."""
        if self._pool is None:
            return self._prepare(step, part)
        following = (step, part + 1) if part + 1 < self._spec.accumulate else (step + 1, 0)
        asked = self._waiting.pop((step, part), None) or self._pool.submit(self._prepare, step, part)
        self._waiting[following] = self._pool.submit(self._prepare, *following)
        found: tuple[list[Item], float, list[dict[str, str]]] = asked.result()
        return found

    def _prepare(self, step: int, part: int) -> tuple[list[Item], float, list[dict[str, str]]]:
        start, items, skipped = time.perf_counter(), [], []
        for place in self.numbers(step, part):
            group = self.group(place)
            try:
                items.append(self._built.learner.prepare(group, self.budget(place)))
            except SampleError as error:
                skipped.append({"sample": group[0].sample.id, "reason": error.reason})
        return items, time.perf_counter() - start, skipped

    def full(self, items: Sequence[Item]) -> tuple[list[Item], float]:
        """The same samples with all tokens."""
        start = time.perf_counter()
        return [self._built.learner.prepare(i.examples, full=True) for i in items], time.perf_counter() - start
