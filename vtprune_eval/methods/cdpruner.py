"""``cdpruner``: a conditional determinantal point process over the visual tokens.

Zhang et al., "Beyond Attention or Similarity: Maximizing Conditional Diversity for Token Pruning in MLLMs",
arXiv 2506.10967 (NeurIPS 2025). Kernel diag(q) cos(x) diag(q) with the relevance q, greedy MAP inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenView, hyper
from .kernels.diversity import greedy_map, mean_cosine, min_max_scaled

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CDPruner(Method):
    """Diversity of the tokens, weighted by their relevance to the question."""

    name: ClassVar[str] = "cdpruner"
    paper: ClassVar[str] = "Zhang et al., CDPruner, arXiv 2506.10967"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Relevance is the mean cosine of a merged visual token with the question's embeddings: these models have no "
        "text encoder aligned with their vision encoder, which the paper's CLIP relevance needs. An adaptation.",
        "The released code takes MINUS the cosine, in CLIP's space; plus is right for embeddings of the language "
        "model, as a public port for such models says too (sign=minus is the released one).",
        "Once the remaining gains are rounding noise (1e-6 of the largest) the tokens of highest relevance fill up; "
        "the released code returns whatever the noise says.",
        "Positions are kept; the published LLaVA form renumbers.",
    )

    theta: float = hyper(
        0.0, "weight of relevance: q becomes exp(theta / (2 (1 - theta)) q); 0 leaves q as it is", low=0.0, high=0.99
    )
    sign: str = hyper("plus", "sign of the cosine in the relevance", choices=("plus", "minus"))

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        n = len(view.features)
        words = view.question_features
        words = view.text_features if words is None or not len(words) else words
        raw = mean_cosine(view.features, words)
        quality = min_max_scaled(raw if self.sign == "plus" else -raw)
        if self.theta:
            quality = (self.theta / (2 * (1 - self.theta)) * quality).exp()
        keep = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        keep[greedy_map(view.features, quality, min(n, budget.limit))] = True
        return keep
