"""``scope``: tokens that cover the others best, weighted by saliency.

Deng et al., "SCOPE: Saliency-Coverage Oriented Token Pruning for Efficient Multimodel LLMs", arXiv 2510.24214: each
step takes the token of largest gain in coverage (sum over tokens of what its cosine adds) times saliency^alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenView, hyper
from .kernels.attended import Attended, attended_layer
from .kernels.diversity import greedy_cover

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Scope(Attended, Method):
    """Greedy coverage times saliency."""

    name: ClassVar[str] = "scope"
    paper: ClassVar[str] = "SCOPE, arXiv 2510.24214"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Without a CLS token saliency is the attention received from all patches of the image.",
        "Coverage is measured behind the merger, of all images together; positions are kept.",
    )

    alpha: float = hyper(1.0, "exponent of the saliency; 0 is coverage alone", low=0.0, high=10.0)
    layer: str = attended_layer()

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        received = self.received(view)
        keep = torch.zeros(len(received), dtype=torch.bool, device=received.device)
        keep[greedy_cover(view.features, received**self.alpha, min(len(received), budget.limit))] = True
        return keep
