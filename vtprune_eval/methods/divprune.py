"""``divprune``: the tokens that differ most from each other.

Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models", arXiv 2503.02175
(CVPR 2025). Max-min diversity on the cosine distance of the visual tokens, by the greedy rule. A running minimum needs
one row per chosen token; beyond ``MATRIX_TOKENS`` the similarity matrix is not held, and rows are computed on demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import Rounding, StageBudget
from .base import Method, TokenView

if TYPE_CHECKING:
    from torch import Tensor

# Up to so many tokens (256 MiB) the similarity matrix is held.
MATRIX_TOKENS = 8192
BLOCK = 1024


@dataclass(frozen=True)
class DivPrune(Method):
    """Greedy max-min diversity."""

    name: ClassVar[str] = "divprune"
    paper: ClassVar[str] = "Alvar et al., DivPrune, arXiv 2503.02175"
    deviations: ClassVar[tuple[str, ...]] = (
        "A token is never chosen twice (among identical tokens the published argmax may repeat one).",
    )
    paper_rounding: ClassVar[Rounding] = "nearest"

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        n = len(view.features)
        keep = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        keep[max_min(view.features, min(n, budget.limit))] = True
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
    matrix = torch.empty(n, n, device=unit.device) if n <= MATRIX_TOKENS else None
    for start in range(0, n, BLOCK):
        similar = unit[start : start + BLOCK] @ unit.T
        if matrix is not None:
            matrix[start : start + BLOCK] = similar
        rows = torch.arange(len(similar), device=unit.device)
        similar[rows, start + rows] = -2.0  # not its own neighbour
        nearest[start : start + BLOCK] = similar.amax(-1)
    # Working on similarities: the farthest token is the one of lowest similarity.
    chosen = torch.empty(k, dtype=torch.long, device=unit.device)
    chosen[0] = nearest.argmin()
    closest = torch.full((n,), -2.0, device=unit.device)
    for i in range(1, k):
        last = int(chosen[i - 1])
        torch.maximum(closest, unit @ unit[last] if matrix is None else matrix[last], out=closest)
        closest[last] = float("inf")
        chosen[i] = closest.argmin()
    return chosen
