"""Stage times: one monotonic clock, the device synchronised at both edges of every stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StageClock:
    """Adds up the wall time of named stages in milliseconds.

    The two synchronisations per stage are the clock's whole cost; a stage may be entered several times.
    """

    def __init__(self, *devices: torch.device) -> None:
        """``devices``: all that the stages compute on."""
        self._cuda = [device for device in devices if device.type == "cuda"]
        self.ms: dict[str, float] = {}

    def now(self) -> int:
        """Nanoseconds, after every device has finished what it was given."""
        for device in self._cuda:
            torch.cuda.synchronize(device)
        return time.perf_counter_ns()

    def move(self, source: str, target: str, ms: float) -> None:
        """Count ``ms`` of what was timed as ``source`` as ``target``: work of one stage inside another."""
        self.ms[source] -= ms
        self.ms[target] = self.ms.get(target, 0.0) + ms

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body under ``name``; nothing is recorded if it raises."""
        start = self.now()
        yield
        self.ms[name] = self.ms.get(name, 0.0) + (self.now() - start) / 1e6
