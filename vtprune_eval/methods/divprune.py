"""``divprune``: the tokens that differ most from each other.

Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models", arXiv 2503.02175
(CVPR 2025), algorithm 1. Max-min diversity on the cosine distance of the visual tokens, by the greedy rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import Rounding, StageBudget
from .base import Method, TokenView
from .kernels.diversity import max_min

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DivPrune(Method):
    """Greedy max-min diversity."""

    name: ClassVar[str] = "divprune"
    paper: ClassVar[str] = "Alvar et al., DivPrune, arXiv 2503.02175"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "A token is never chosen twice (among identical tokens the published argmax may repeat one).",
        "The first step ties where the two most isolated tokens are each other's nearest: the lower index is taken, "
        "whatever rounding says.",
        "Positions are kept; the published LLaVA form renumbers.",
    )
    paper_rounding: ClassVar[Rounding] = "nearest"

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        n = len(view.features)
        keep = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        keep[max_min(view.features, min(n, budget.limit))] = True
        return keep
