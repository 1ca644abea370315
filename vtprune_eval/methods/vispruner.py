"""``vispruner``: half of the budget by encoder attention, the other half by removing duplicates.

Zhang et al., "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs",
arXiv 2412.01818 (ICCV 2025), section 4: important tokens by attention of the penultimate encoder block; the rest, by
falling attention, loses the tokens most similar to others, 8 per round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenView, hyper
from .kernels.attended import Attended, attended_layer
from .kernels.diversity import thin_out
from .kernels.pivots import falling

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class VisPruner(Attended, Method):
    """Important tokens by attention, diverse tokens by iterative removal."""

    name: ClassVar[str] = "vispruner"
    paper: ClassVar[str] = "Zhang et al., VisPruner, arXiv 2412.01818"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Without a CLS token the score is the attention received from all patches of the image.",
        "Tokens are compared behind the merger; the released code compares the penultimate block's output.",
        "A list of odd length, or a round that would drop more than a half, makes the released code raise; here the "
        "round drops at most the even half.",
        "All images of a prompt compete together; positions are kept.",
    )

    important: float = hyper(0.5, "share of the kept tokens that are chosen by attention", low=0.0, high=1.0)
    per_round: int = hyper(8, "tokens that a round of removal drops at most", low=1, unit="tokens")
    layer: str = attended_layer()

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        received = self.received(view)
        k = min(len(received), budget.limit)
        order, n_important = falling(received), int(k * self.important)
        keep = torch.zeros(len(received), dtype=torch.bool, device=received.device)
        keep[order[:n_important]] = True
        if k > n_important:
            keep[thin_out(view.features, order[n_important:], k - n_important, self.per_round)] = True
        return keep
