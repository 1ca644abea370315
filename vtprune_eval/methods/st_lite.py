"""``st-lite``: SnapKV's scores, local saliency of the screenshot, and a gate against repeated screenshots.

"ST-Lite", arXiv 2603.00188 (2026; GUI agents). Neither the paper nor code was at hand: the terms and their settings
(window 8, alpha 0.1, 3 x 3 smoothing, at least 64 tokens) are those of a public reproduction; see the deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import LayerView, Room, hyper
from .kernels.temporal import nearest_in_past, smoothed
from .kernels.window import WindowScored

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class STLite(WindowScored):
    """Window attention plus smoothed saliency, gated by likeness to a later screenshot."""

    name: ClassVar[str] = "st-lite"
    paper: ClassVar[str] = "ST-Lite, arXiv 2603.00188"
    year: ClassVar[int] = 2026
    origin: ClassVar[str] = "paper"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Written from a description of a public reproduction, not from the paper: how the terms are joined is this "
        "project's reading. Treat a row of it as a sketch.",
        "Saliency is the softmax over an image of the norms of the layer's input, smoothed over 3 x 3 blocks, times "
        "alpha; the gate multiplies a token of an earlier screenshot by 1 - its largest cosine to a token of the next "
        "one.",
        "The reproduction's floor of 64 tokens is not applied: the budget is the budget.",
    )

    granularity: str = hyper(
        "kv_head", "sets per kv head (mean over its query heads) or per query head", choices=("kv_head", "query_head")
    )
    kernel: int = hyper(3, "pooling width along the prompt; 0 is the preset's", choices=(0, 1, 3, 5, 7, 9, 11))
    alpha: float = hyper(0.1, "weight of the saliency", low=0.0)
    gate: bool = hyper(True, "lower what a later screenshot repeats")

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        scores = super().score_kv(view, room).clone()
        past = scores.shape[1]
        for i, grid in enumerate(view.layout.grids):
            first, last = view.span_of(i)
            if first == last:
                continue
            own = view.hidden_in[first:last]
            norms = own.float().norm(dim=-1)
            places = view.index[first:last] - view.layout.spans[i][0]
            bonus = self.alpha * torch.softmax(smoothed(norms, places, grid), 0)
            gate = torch.ones_like(bonus)
            if self.gate and i + 1 < len(view.layout.grids):
                gate = 1 - nearest_in_past(own, view.hidden_in[slice(*view.span_of(i + 1))]).clamp(min=0)
            inside = max(0, min(last, past) - first)
            mine = scores[:, first : first + inside]
            scores[:, first : first + inside] = (mine + bonus[:inside]) * gate[:inside]
        return scores
