"""``no-image``: no visual token reaches the decoder; what a model answers without looking.

The blind row of every table: an accuracy that it reaches too owes nothing to what a method keeps. The ViT runs, so that
costs are those of a method behind it, and positions stay: the question stands where it stood behind the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenView
from .contract.common import TokenLayout

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class NoImage(Method):
    """Drops every visual token, whatever the budget."""

    name: ClassVar[str] = "no-image"
    adaptive: ClassVar[bool] = True
    blind: ClassVar[bool] = True

    def tokens_kept(self, layout: TokenLayout, present: np.ndarray, budget: StageBudget) -> int | None:
        """None is left."""
        return 0

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        return torch.zeros(len(view.features), dtype=torch.bool, device=view.features.device)
