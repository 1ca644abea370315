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
from .kernels.window import WindowScored
from .snapkv import SnapKV


def layer_past(layer: int, n_layers: int, past: int, candidates: int, beta: int) -> int:
    """Entries before the window at one layer.

    Args:
        layer: index from 0; n_layers: their number; past: the uniform share; candidates: entries before the window.
        beta: the highest layer keeps about ``past / beta``.

    Returns:
        ``hi - layer * step`` with ``lo = past // beta``, ``hi = 2 past - lo`` (capped at ``candidates``, which raises
        ``lo``) and ``step = (hi - lo) // (n_layers - 1)``. The floor makes the mean slightly larger than ``past``.
    """
    low = past // beta
    high = 2 * past - low
    if high >= candidates:
        high = candidates
        low = 2 * past - high
    return high - layer * ((high - low) // (n_layers - 1))


def linear_sizes(n_layers: int, mean: int, most: int, beta: int) -> tuple[int, ...]:
    """Entries of every layer, falling linearly from about ``2 mean`` to ``mean / beta``, that average to ``mean``.

    Args:
        n_layers: of the decoder; mean: entries per layer; most: that a layer has; beta: as in :func:`layer_past`.
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
    deviations: ClassVar[tuple[str, ...]] = (
        "Uniform when the prompt is shorter than twice the past share, as in GUI-KV's code.",
        *SnapKV.deviations,
    )

    beta: int = hyper(20, "the top layer keeps about 1/beta of the uniform share", low=1)

    def layer_capacity(self, view: LayerView, room: Room) -> int:
        """See :meth:`Method.layer_capacity`."""
        if room.text:
            n_visual = int(view.visual.sum())
            sizes = linear_sizes(view.n_layers, room.capacity - room.text, n_visual, self.beta)
            return room.text + sizes[view.layer]
        n, past = len(view.index), max(1, room.capacity - room.window)
        if n >= 2 * past and view.n_layers > 1:
            past = layer_past(view.layer, view.n_layers, past, n - room.window, self.beta)
        return room.window + past
