"""``prumerge``: keep the outliers of encoder attention and merge similar tokens into them.

Shang et al., "LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models", arXiv 2403.15388.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenEdit, TokenView, hyper
from .guipruner_ssp import spread
from .kernels.topk import best

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PruMerge(Method):
    """Outliers by the interquartile rule (auto), or a budget of them filled up evenly; similar tokens are merged in."""

    name: ClassVar[str] = "prumerge"
    paper: ClassVar[str] = "Shang et al., LLaVA-PruMerge, arXiv 2403.15388"
    deviations: ClassVar[tuple[str, ...]] = (
        "With a numeric budget the outliers come first, then evenly spaced tokens fill it (the idea of PruMerge+).",
        "No extra token for everything that is not kept: it would have no position.",
        "Without a CLS token the score is the attention received from all patches; at least one token stays.",
        "Where every token stays nothing is merged; the published code always merges.",
    )
    adaptive: ClassVar[bool] = True

    neighbours: int = hyper(32, "similar tokens merged into each kept one", low=0, unit="tokens")
    merge: bool = hyper(True, "merge at all; false only prunes")

    @property
    def needs(self) -> tuple[str, ...]:
        """Attention received and keys at the last block."""
        return ("encoder_attention:last", "encoder_keys:last")

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`."""
        received, keys = (view.extras[name].float() for name in self.needs)
        n = len(received)
        n_outliers = outliers(received)
        n_keep = n_outliers if budget.n_keep is None else min(n, budget.n_keep)
        keep = torch.zeros(n, dtype=torch.bool, device=received.device)
        keep[best(received[None], min(n_outliers, n_keep))[0]] = True
        rest = (~keep).nonzero()[:, 0]
        keep[rest[spread(len(rest), n_keep - int(keep.sum())).to(rest.device)]] = True
        # A budget that drops nothing must give the full model's answer.
        if not self.merge or not self.neighbours or bool(keep.all()):
            return TokenEdit(keep)
        kept = keep.nonzero()[:, 0]
        weights = received / received.sum()
        unit = torch.nn.functional.normalize(keys, dim=-1)
        features = []
        for part in kept.split(256):
            similar = unit[part] @ unit.T
            similar[torch.arange(len(part), device=part.device), part] = float("-inf")
            near = similar.topk(min(self.neighbours, n - 1), dim=-1).indices
            added = (weights[near][..., None] * view.features[near].float()).sum(1)
            features.append(view.features[part].float() + added)
        return TokenEdit(keep, features=torch.cat(features).to(view.features.dtype))


def outliers(scores: Tensor) -> int:
    """Number of scores above Q3 + 1.5 (Q3 - Q1), at least 1."""
    low, high = torch.quantile(scores, torch.tensor([0.25, 0.75], device=scores.device))
    return max(1, int((scores > high + 1.5 * (high - low)).sum()))
