"""What a training's log says of time and memory: the method beside all tokens on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..results.stats import paired_ratio, stated
from .spec import TrainSpec


def summary(lines: Sequence[dict[str, Any]], spec: TrainSpec) -> dict[str, Any]:
    """Means of a log, and the speed-ups where steps were compared with all tokens.

    The first compared step warms up and is left out.
    """
    found: dict[str, Any] = {"method": spec.method, "budget": spec.budget}
    if not lines:
        return found
    found["loss"] = lines[-1]["loss"]
    for name in ("step_s", "forward_s", "backward_s", "prepare_s", "optimizer_s"):
        found[f"{name}_median"] = float(np.median([line[name] for line in lines]))
    for name in ("tokens", "visual", "flops_forward", "flops_backward"):
        found[f"{name}_mean"] = float(np.mean([line[name] for line in lines]))
    found["peak_bytes"] = max(line["peak_bytes"] for line in lines)
    found["skipped"] = sum(len(line.get("skipped", ())) for line in lines)
    both = [line for line in lines if "full" in line][1:]
    if both:
        found["compared"] = compared(both)
    return found


def compared(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Speed-ups of the passes, geometric means over the same steps with 95 % intervals, beside the FLOPs bound.

    Args:
        lines: with ``full``, the same samples with all tokens.
    """

    def ratio(*names: str, both: tuple[str, ...] = ()) -> dict[str, Any]:
        same = [sum(line[n] for n in both) for line in lines]
        base = [sum(line["full"][n] for n in names) + s for line, s in zip(lines, same, strict=True)]
        own = [sum(line[n] for n in names) + s for line, s in zip(lines, same, strict=True)]
        value, low, high = paired_ratio(base, own)
        return {"ratio": value, "ci95": stated(low, high)}

    return {
        "steps": len(lines),
        "forward": ratio("forward_s"),
        "backward": ratio("backward_s"),
        "passes": ratio("forward_s", "backward_s"),
        "passes_and_preparation": ratio("prepare_s", "forward_s", "backward_s"),
        # A step has one update of the weights, whatever the tokens.
        "step": ratio("prepare_s", "forward_s", "backward_s", both=("optimizer_s",)),
        "flops_bound": ratio("flops_forward", "flops_backward"),
        "tokens": ratio("tokens"),
        "peak_bytes": max(line["peak_bytes"] for line in lines),
        "peak_bytes_full": max(line["full"]["peak_bytes"] for line in lines),
    }
