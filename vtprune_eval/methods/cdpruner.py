"""``cdpruner``: a conditional determinantal point process over the visual tokens.

Zhang et al., "Beyond Attention or Similarity: Maximizing Conditional Diversity for Token Pruning in MLLMs",
arXiv 2506.10967 (NeurIPS 2025). Greedy MAP inference with running updates; beyond ``MATRIX_TOKENS`` similarity rows are
computed on demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenView, hyper
from .divprune import MATRIX_TOKENS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CDPruner(Method):
    """Diversity of the tokens, weighted by their relevance to the question."""

    name: ClassVar[str] = "cdpruner"
    paper: ClassVar[str] = "Zhang et al., CDPruner, arXiv 2506.10967"
    deviations: ClassVar[tuple[str, ...]] = (
        "Relevance is the mean cosine of a merged visual token with the question's embeddings: these models have no "
        "text encoder aligned with their vision encoder, which the paper's CLIP relevance needs. An adaptation.",
    )

    theta: float = hyper(
        0.0, "weight of relevance: q becomes exp(theta / (2 (1 - theta)) q); 0 leaves q as it is", low=0.0, high=0.99
    )

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        n = len(view.features)
        words = view.question_features
        words = view.text_features if words is None or not len(words) else words
        quality = relevance(view.features, words)
        if self.theta:
            quality = (self.theta / (2 * (1 - self.theta)) * quality).exp()
        keep = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        keep[greedy_map(view.features, quality, min(n, budget.limit))] = True
        return keep


def relevance(features: Tensor, words: Tensor) -> Tensor:
    """Mean cosine of every token ``(n, dim)`` with ``words`` ``(m, dim)``, scaled to (0, 1]; all 1 if constant."""
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    text = torch.nn.functional.normalize(words.float(), dim=-1)
    q = (unit @ text.T).mean(-1)
    low, high = q.min(), q.max()
    return torch.ones_like(q) if high - low < 1e-12 else (q - low + 1e-6) / (high - low)


def greedy_map(features: Tensor, quality: Tensor, k: int) -> Tensor:
    """Greedy MAP of the DPP with kernel ``diag(q) cos(x) diag(q)``, in the order of choice, int64 ``(k,)``.

    Orthogonalising one row per choice (``k n`` floats held); ties go to the lower index. When the kernel has lower rank
    than ``k`` the remaining gains are rounding noise: the tokens of highest quality fill up.
    """
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    quality = quality.float()
    n = len(unit)
    if k >= n:
        return torch.arange(n, device=unit.device)
    gain = quality.square()
    floor = 1e-6 * float(gain.max())
    similar = unit @ unit.T if n <= MATRIX_TOKENS else None
    rows = torch.zeros(k, n, device=unit.device)
    taken = torch.zeros(n, dtype=torch.bool, device=unit.device)
    chosen = torch.empty(k, dtype=torch.long, device=unit.device)
    for i in range(k):
        free = gain.masked_fill(taken, float("-inf"))
        j = int(free.argmax())
        if float(free[j]) <= floor:
            order = torch.sort(quality.masked_fill(taken, float("-inf")), descending=True, stable=True).indices
            chosen[i:] = order[: k - i]
            break
        chosen[i] = j
        taken[j] = True
        kernel = quality * quality[j] * (unit @ unit[j] if similar is None else similar[j])
        rows[i] = (kernel - rows[:i].T @ rows[:i, j]) / gain[j].clamp(min=1e-10).sqrt()
        gain = gain - rows[i].square()
    return chosen
