"""``random-tokens``: visual tokens drawn uniformly after the ViT; the floor of every post-encoder selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenView

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RandomTokens(Method):
    """Uniform random scores of the visual tokens."""

    name: ClassVar[str] = "random-tokens"
    draws: ClassVar[bool] = True
    default_like: ClassVar[str | None] = "pixelprune"

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        generator = torch.Generator().manual_seed(view.seed)
        return torch.rand(len(view.features), generator=generator).to(view.features.device)
