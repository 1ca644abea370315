"""How often the hooks of a method make the device work, and the host wait for it: one sample through the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..budget import Budget
from ..clock import StageClock
from ..models.base import VlmAdapter
from ..naming import parts_of
from ..profiling.launches import Launches, counted
from ..profiling.memory import PeakMemory
from ..registry import make_method
from ..sample import Sample
from .generate import Pipeline
from .images import load_images


def hook_cost(
    adapter: VlmAdapter, method: str, budget: str, sample: Sample, options: Mapping[str, Any] | None = None
) -> Launches:
    """What the hooks of a method do on one sample, from the image to the end of the prefill.

    Args:
        adapter: the model.
        method: name, or a composition.
        budget: as on the command line.
        sample: that is answered.
        options: hyper-parameters.

    Returns:
        Launches and reads of the stage ``select``: everything that ``full`` does not do; by layer, what ran behind it.
    """
    made = tuple(make_method(part, dict(options or {})) for part in parts_of(method))
    pipeline = Pipeline(adapter, made, Budget.parse(budget, reading="paper"), max_new_tokens=1)
    clock = _CountingClock(adapter.device)
    images = load_images(sample, adapter.images, clock, keep_files=True)
    with torch.inference_mode():
        budgets = pipeline.budgets(sample, images, clock)
        clock.found = Launches(where={})
        pipeline.answer(pipeline.enter(sample, images, budgets, clock), budgets, clock, PeakMemory(adapter.device))
    return clock.found


class _CountingClock(StageClock):
    """A clock that counts what happens in the stage ``select``."""

    def __init__(self, *devices: torch.device) -> None:
        super().__init__(*devices)
        self.found = Launches(where={})

    @contextmanager
    def stage(self, name: str, layer: int | None = None) -> Iterator[None]:
        """See :class:`StageClock`."""
        with super().stage(name):
            if name != "select":
                yield
                return
            launches, reads = self.found.launches, self.found.reads
            with counted(self.found):
                yield
            if layer is not None:
                own = self.found.layers.setdefault(layer, Launches())
                own.launches += self.found.launches - launches
                own.reads += self.found.reads - reads
