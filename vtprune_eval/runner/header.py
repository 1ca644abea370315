"""The line that a run prints before it loads anything: what will run, on what, and for about how long."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from ..benchmarks.tasks import Task
from ..models import check_model_name
from ..models.defaults import SPREAD
from ..models.embedded import EMBEDDED
from .estimate import estimated_seconds, pixel_limits
from .spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Sequence


def header(spec: RunSpec, tasks: Sequence[Task]) -> str:
    """One line: model, weights, device, floating type, attention, cells x samples, image limits, estimated time.

    Args:
        spec: with device and floating type resolved.
        tasks: loaded, or this shard's part of them.
    """
    samples = sum(len(task.samples) for task in tasks)
    named = ", ".join(f"{task.name} {len(task.samples)}" for task in tasks)
    cells = len(spec.cells())
    parts = [
        f"{spec.model}, {weights_of(spec)}",
        device_name(spec.device),
        f"{spec.dtype}, {spec.attn}",
        f"{cells} cell{'s' * (cells != 1)} x {samples} sample{'s' * (samples != 1)} ({named})",
    ]
    limits = pixel_limits(spec)
    if limits:
        parts.append(f"images resized into {limits[0]:,} to {limits[1]:,} pixels")
    seconds = estimated_seconds(spec, tasks)
    if seconds is not None:
        parts.append(f"about {spoken(seconds)} if every answer takes all its tokens")
    return "run: " + "; ".join(parts)


def weights_of(spec: RunSpec) -> str:
    """Where the weights come from, in words."""
    if spec.model_path:
        return f"{'random weights of the size in' if spec.weights == 'random' else 'weights in'} {spec.model_path}"
    if spec.weights == "random":
        return f"random weights (seed {spec.seed})"
    hub_id = check_model_name(spec.model).hub_id
    return f"weights of {hub_id}" if hub_id else "embedded weights" if spec.model in EMBEDDED else "no weights"


def device_name(device: str) -> str:
    """A device with the name of its hardware."""
    if device == "cpu":
        return f"cpu ({processor() or platform.machine()}, {os.cpu_count()} threads)"
    import torch

    count = torch.cuda.device_count()
    if device == SPREAD:
        return (
            f"{SPREAD} over {count} GPUs ({', '.join(sorted({torch.cuda.get_device_name(i) for i in range(count)}))})"
        )
    try:
        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    except (AssertionError, RuntimeError, ValueError):  # refused with a sentence when the model is loaded
        return device


def processor() -> str:
    """Name of the processor, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def spoken(seconds: float) -> str:
    """A duration with one or two digits and a unit."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
