"""``pyramidkv``: SnapKV's scores with more entries in low layers and fewer in high ones.

Cai et al., "PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling", arXiv 2406.02069. The
layer budgets are those of GUI-KV's comparison (a linear decrease, beta = 20).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from ..budget import spread_over_layers
from .base import LayerView, Room, hyper
from .kernels.schedules import pyramid_entries, pyramid_exact
from .kernels.window import WindowScored
from .snapkv import SnapKV


def linear_sizes(n_layers: int, mean: int, most: int, beta: int) -> tuple[int, ...]:
    """Entries of every layer, falling linearly from about ``2 mean`` to ``mean / beta``, that average to ``mean``.

    Args:
        n_layers: of the decoder.
        mean: entries per layer.
        most: that a layer has.
        beta: the top layer keeps about ``mean / beta``.
    """
    low = Fraction(mean, beta)
    high = 2 * mean - low
    if high > most:
        high, low = Fraction(most), 2 * mean - Fraction(most)
    steps = max(1, n_layers - 1)
    weights = [high - layer * (high - low) / steps for layer in range(n_layers)]
    return spread_over_layers(mean, weights, (most,) * n_layers)


@dataclass(frozen=True)
class PyramidKV(WindowScored):
    """Linearly decreasing layer budgets."""

    name: ClassVar[str] = "pyramidkv"
    paper: ClassVar[str] = "Cai et al., PyramidKV, arXiv 2406.02069"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "In the reading equal the layers add up to the budget exactly; in the paper's the published whole-number steps "
        "keep more than the budget at short prompts (up to twice), and steps=exact takes kvpress' real-valued ones.",
        "Uniform when the prompt is shorter than twice the past share, as in GUI-KV's code.",
        *SnapKV.deviations,
    )

    beta: int = hyper(20, "the top layer keeps about 1/beta of the uniform share", low=1)
    steps: str = hyper(
        "floor", "steps from layer to layer: whole numbers as published, or exact", choices=("floor", "exact")
    )

    def layer_capacity(self, view: LayerView, room: Room) -> int:
        """See :meth:`Method.layer_capacity`."""
        if room.text:
            n_visual = view.n_visual
            sizes = linear_sizes(view.n_layers, room.capacity - room.text, n_visual, self.beta)
            return room.text + sizes[view.layer]
        n, capacity = len(view.index), max(room.capacity, room.window + 1)
        if self.steps == "exact" and view.n_layers > 1:
            return max(1, min(n, pyramid_exact(view.layer, view.n_layers, n, capacity, room.window, self.beta)))
        return pyramid_entries(view.layer, view.n_layers, n, capacity, room.window, self.beta)
