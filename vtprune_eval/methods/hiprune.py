"""``hiprune``: anchors at a middle encoder layer, their neighbours, and registers at the last layer.

Liu et al., "HiPrune: Training-Free Visual Token Pruning via Hierarchical Attention in Vision-Language Models",
arXiv 2508.00553, section 3. ``round(K alpha / 5)`` anchors, so none for 25 tokens and fewer at alpha 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import Rounding, StageBudget
from .base import Method, TokenView, hyper
from .kernels.pivots import anchors_and_registers, n_anchors, wrapped_neighbours
from .kernels.topk import best

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class HiPrune(Method):
    """Anchors and buffers from the object layer, registers from the last one."""

    name: ClassVar[str] = "hiprune"
    paper: ClassVar[str] = "Liu et al., HiPrune, arXiv 2508.00553"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Neighbours are those of each image's own grid; the published code takes index +-1 across row ends and the "
        "first image's width for all (neighbours=index).",
        "When anchors and buffers exceed the budget the best of them by the object layer stay; the published code "
        "raises.",
    )
    paper_rounding: ClassVar[Rounding] = "nearest"

    alpha: float = hyper(0.1, "share of the budget for anchors with their four neighbours", low=0.0, high=1.0)
    object_layer: str = hyper(
        "mid",
        "ViT block of the anchors: mid (end of the first half; the nearest one with full "
        "attention), penultimate, last, or an index; negative counts from the end",
    )
    neighbours: str = hyper(
        "grid", "an anchor's neighbours: in its image's grid, or by index as published", choices=("grid", "index")
    )

    @property
    def needs(self) -> tuple[str, ...]:
        """Attention received at the object layer and at the last one."""
        return (f"encoder_attention:{self.object_layer}", "encoder_attention:last")

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        middle, last = (view.extras[name].float() for name in self.needs)
        n = len(view.features)
        k = min(n, budget.limit)
        anchors = best(middle[None], min(k, n_anchors(k, self.alpha)))[0]
        near = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        if self.neighbours == "index" and view.layout.grids:
            near[wrapped_neighbours(anchors, n, view.layout.grids[0][1])] = True
        else:
            near[anchors] = True
            near |= _neighbours(view, near)
        return anchors_and_registers(middle, last, k, near)


def _neighbours(view: TokenView, marked: Tensor) -> Tensor:
    """Present tokens beside (up, down, left, right, same image) a marked one, bool ``(n_present,)``."""
    full = torch.zeros(view.layout.n_visual, dtype=torch.bool, device=marked.device)
    full[view.present] = marked
    out, at = torch.zeros_like(full), 0
    for rows, cols in view.layout.grids:
        grid = full[at : at + rows * cols].view(rows, cols)
        near = torch.zeros_like(grid)
        near[1:] |= grid[:-1]
        near[:-1] |= grid[1:]
        near[:, 1:] |= grid[:, :-1]
        near[:, :-1] |= grid[:, 1:]
        out[at : at + rows * cols] = near.reshape(-1)
        at += rows * cols
    return out[view.present]
