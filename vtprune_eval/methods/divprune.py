"""``divprune``: the tokens that differ most from each other.

Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models", arXiv 2503.02175
(CVPR 2025). Max-min diversity on the cosine distance of the visual tokens, by the greedy rule. The distance matrix is
never built: a running minimum needs one row per chosen token, and the first choice its nearest neighbours in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..budget import StageBudget
from .base import Method, TokenView

# Rows of the similarity matrix held at once when the first token is looked for.
BLOCK = 1024


@dataclass(frozen=True)
class DivPrune(Method):
    """Greedy max-min diversity."""

    name: ClassVar[str] = "divprune"
    paper: ClassVar[str] = "Alvar et al., DivPrune, arXiv 2503.02175"
    deviations: ClassVar[tuple[str, ...]] = (
        "A token is never chosen twice (among identical tokens the published argmax may repeat one).",
    )

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        n = len(view.features)
        keep = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        keep[max_min(view.features, min(n, n if budget.n_keep is None else budget.n_keep))] = True
        return keep


def max_min(features: Tensor, k: int) -> Tensor:
    """``k`` of ``n`` rows by greedy max-min cosine distance, in the order of choice, int64 ``(k,)``.

    The first row is the one farthest from its nearest neighbour; every next one is the farthest from all chosen. Ties
    go to the lower index.
    """
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    n = len(unit)
    if k >= n:
        return torch.arange(n, device=unit.device)
    nearest = torch.empty(n, device=unit.device)
    for start in range(0, n, BLOCK):
        similar = unit[start:start + BLOCK] @ unit.T
        rows = torch.arange(len(similar), device=unit.device)
        similar[rows, start + rows] = -2.0  # not its own neighbour
        nearest[start:start + BLOCK] = similar.amax(-1)
    # Working on similarities: the farthest token is the one of lowest similarity.
    chosen = torch.empty(k, dtype=torch.long, device=unit.device)
    chosen[0] = nearest.argmin()
    closest = torch.full((n,), -2.0, device=unit.device)
    for i in range(1, k):
        torch.maximum(closest, unit @ unit[chosen[i - 1]], out=closest)
        closest[chosen[i - 1]] = float("inf")
        chosen[i] = closest.argmin()
    return chosen
