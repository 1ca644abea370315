"""``dart``: keep pivots and what resembles them least.

Wen et al., "Stop Looking for Important Tokens in Multimodal Language Models: Duplication Matters More",
arXiv 2502.11494.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import Budget, StageBudget, rounded
from .base import LayerView, ShallowPruner, hyper

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dart(ShallowPruner):
    """Image and text pivots by key norm; per pivot the least similar visual tokens."""

    name: ClassVar[str] = "dart"
    paper: ClassVar[str] = "Wen et al., DART, arXiv 2502.11494"
    deviations: ClassVar[tuple[str, ...]] = (
        "In the reading equal exactly K tokens: the share per pivot is rounded down and the last pivot fills up.",
        "Pivots are visited by falling norm; the published code iterates over a set.",
    )

    paper_reading: ClassVar[str] = "4 + 8 int(b % / 8) visual tokens are left behind the cut (4 + 4 pivots)"

    image_pivots: int = hyper(4, "visual pivots, largest L1 norm of their keys", low=0)
    text_pivots: int = hyper(4, "text pivots, likewise", low=0)

    def paper_count(self, n_full: int, budget: Budget) -> int:
        """See :meth:`Method.paper_count`: every pivot brings the same number, rounded down."""
        n = self.image_pivots + self.text_pivots
        share = Fraction(budget.count(n_full, "down"), n) if budget.kind == "tokens" else None
        per_pivot = share if share is not None else (budget.value or Fraction(0)) * n_full / 100 / max(1, n)
        return max(1, min(n_full, self.image_pivots + n * rounded(per_pivot, "down")))

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        n_visual = int(view.visual.sum())
        n_keep = min(n_visual, budget.limit)
        norms = view.keys.float().abs().sum((0, 2))
        visual, text = view.visual.nonzero()[:, 0], (~view.visual).nonzero()[:, 0]
        by_norm = [rows[torch.sort(norms[rows], descending=True, stable=True).indices] for rows in (visual, text)]
        seeds = by_norm[0][: min(self.image_pivots, n_keep)]
        pivots = torch.cat([seeds, by_norm[1][: self.text_pivots]])
        keep = ~view.visual
        keep[seeds] = True
        left = n_keep - len(seeds)
        if len(pivots) == 0:  # nothing to compare with: the largest norms
            keep[by_norm[0][:n_keep]] = True
            return keep
        unit = torch.nn.functional.normalize(view.hidden_out.float(), dim=-1)
        per_pivot = n_keep // len(pivots)
        for i, pivot in enumerate(pivots.tolist()):
            share = left if i == len(pivots) - 1 else min(left, per_pivot)
            candidates = visual[~keep[visual]]
            similar = unit[candidates] @ unit[pivot]
            keep[candidates[torch.sort(similar, stable=True).indices[:share]]] = True
            left -= share
        return keep
