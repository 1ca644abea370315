"""``dart``: keep pivots and what resembles them least.

Wen et al., "Stop Looking for Important Tokens in Multimodal Language Models: Duplication Matters More",
arXiv 2502.11494, section 4. Before layer 2: 4 image and 4 text pivots by the L1 norm of their keys; per pivot the
visual tokens least similar to it, by the cosine of the states after the decoder's final norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import Budget, StageBudget
from .base import LayerView, ShallowPruner, hyper
from .kernels.pivots import dart_share, largest_norms, least_similar
from .kernels.topk import true_places

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dart(ShallowPruner):
    """Image and text pivots by key norm; per pivot the least similar visual tokens."""

    name: ClassVar[str] = "dart"
    paper: ClassVar[str] = "Wen et al., DART, arXiv 2502.11494"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "In the reading equal exactly K tokens: every pivot brings the same number, the first ones one more.",
        "Pivots are visited by falling norm; the published code iterates over a set of row numbers (order=set).",
        "Where no text follows the last image, text pivots come from all text.",
    )

    paper_reading: ClassVar[str] = "4 + 8 int(b % / 8) visual tokens are left behind the cut (4 + 4 pivots)"

    image_pivots: int = hyper(4, "visual pivots, largest L1 norm of their keys", low=0)
    text_pivots: int = hyper(4, "pivots of the text behind the last image, likewise", low=0)
    order: str = hyper("norm", "how pivots are visited: by falling norm, or as a Python set", choices=("norm", "set"))

    def paper_count(self, n_full: int, budget: Budget) -> int:
        """See :meth:`Method.paper_count`: every pivot brings the same number, rounded down."""
        n = max(1, self.image_pivots + self.text_pivots)
        kept = Fraction(budget.count(n_full, "down"), n_full) if budget.kind == "tokens" else (budget.value or 0) / 100
        return max(1, min(n_full, self.image_pivots + n * dart_share(n_full, 1 - kept, n)))

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        n_visual = view.n_visual
        n_keep = min(n_visual, budget.limit)
        norms = view.keys.float().abs().sum((0, 2))
        visual = view.visual_rows
        text = view.text_after if view.n_after_images else view.text_rows
        seeds, words = largest_norms(norms, visual, text, min(self.image_pivots, n_keep), self.text_pivots)
        pivots = torch.cat([seeds, words])
        keep = ~view.visual
        keep[seeds] = True
        left = n_keep - len(seeds)
        if not len(pivots):  # nothing to compare with: the largest norms
            keep[largest_norms(norms, visual, text, n_keep, 0)[0]] = True
            return keep
        if self.order == "set":
            pivots = torch.tensor(list(set(pivots.tolist())), device=pivots.device)
        shares = [left // len(pivots) + (i < left % len(pivots)) for i in range(len(pivots))]
        states = view.final_norm(view.hidden_out)
        candidates = visual.index_select(0, true_places(~keep[visual][None], n_visual - len(seeds))[0])
        keep[least_similar(states, pivots, candidates, shares)] = True
        return keep
