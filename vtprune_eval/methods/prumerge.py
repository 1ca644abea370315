"""``prumerge``: keep the outliers of encoder attention and merge similar tokens into them.

Shang et al., "LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models", arXiv 2403.15388,
sections 3.2 to 3.4. ``auto`` is the paper's adaptive count; a number keeps the outliers first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenEdit, TokenView, hyper
from .kernels.merging import neighbours_added
from .kernels.outliers import n_kept
from .kernels.pivots import evenly_spaced, falling

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PruMerge(Method):
    """Outliers by the interquartile rule (auto), or a budget of them filled up evenly; similar tokens are merged in."""

    name: ClassVar[str] = "prumerge"
    paper: ClassVar[str] = "Shang et al., LLaVA-PruMerge, arXiv 2403.15388"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "With a numeric budget the outliers come first, then evenly spaced tokens fill it (the idea of PruMerge+).",
        "No extra token for everything that is not kept: it would have no position.",
        "Without a CLS token the score is the attention received from all patches, by one softmax over the full width "
        "as published; at least one token stays.",
        "Pruned and merged behind the merger; the published code merges the penultimate block's features before the "
        "projector and renumbers positions.",
        "Where every token stays nothing is merged; the published code always merges.",
    )
    adaptive: ClassVar[bool] = True

    neighbours: int = hyper(32, "similar tokens merged into each kept one", low=0, unit="tokens")
    merge: bool = hyper(True, "merge at all; false only prunes")

    @property
    def needs(self) -> tuple[str, ...]:
        """Attention received and keys at the last block."""
        return ("encoder_wide_attention:last", "encoder_keys:last")

    def adaptive_order(self, scores: Tensor) -> Tensor:
        """Tokens that stay at ``auto``, in the order of the published code."""
        return falling(scores)[: max(1, n_kept(scores))]

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`."""
        received, keys = (view.extras[name].float() for name in self.needs)
        # The attention of an image sums to 1 as published, however many images there are; what competes is its share
        # of the mean, which does not fall with the size of an image.
        sizes = [int(part.sum()) for part in view.present.split(list(view.layout.n_tokens))]
        weights = torch.cat([part / part.sum() for part in received.split(sizes)])
        order, n = self.adaptive_order(received), len(received)
        if budget.n_keep is not None:
            order = order[: min(n, budget.limit)]
        keep = torch.zeros(n, dtype=torch.bool, device=received.device)
        keep[order] = True
        if budget.n_keep is not None:
            rest = (~keep).nonzero()[:, 0]
            keep[rest[evenly_spaced(len(rest), min(n, budget.limit) - len(order)).to(rest.device)]] = True
        # A budget that drops nothing must give the full model's answer.
        if not self.merge or not self.neighbours or bool(keep.all()):
            return TokenEdit(keep)
        merged = neighbours_added(view.features, keys, weights, keep.nonzero()[:, 0], self.neighbours)
        return TokenEdit(keep, features=merged.to(view.features.dtype))
