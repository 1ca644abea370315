"""Stage times: one monotonic clock, the device synchronised at both edges of every stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def wait_for(device: torch.device) -> None:
    """Wait until ``device`` has finished what it was given; a CPU has when the call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class StageClock:
    """Adds up the wall time of named stages in milliseconds.

    The two synchronisations per stage are the clock's whole cost; a stage may be entered several times.
    """

    def __init__(self, *devices: torch.device) -> None:
        """``devices``: all that the stages compute on."""
        self._devices = devices
        self.ms: dict[str, float] = {}

    def now(self) -> int:
        """Nanoseconds, after every device has finished what it was given."""
        for device in self._devices:
            wait_for(device)
        return time.perf_counter_ns()

    def move(self, source: str, target: str, ms: float) -> None:
        """Count ``ms`` of what was timed as ``source`` as ``target``: work of one stage inside another."""
        self.ms[source] -= ms
        self.ms[target] = self.ms.get(target, 0.0) + ms

    @contextmanager
    def stage(self, name: str, layer: int | None = None) -> Iterator[None]:
        """Time the body under ``name``; nothing is recorded if it raises.

        Args:
            name: of the stage.
            layer: decoder layer behind which the body runs, for a clock that tells layers apart; this one does not.
        """
        start = self.now()
        yield
        self.ms[name] = self.ms.get(name, 0.0) + (self.now() - start) / 1e6
