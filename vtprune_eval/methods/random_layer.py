"""``random-layer``: visual tokens drawn uniformly after a decoder layer; the floor of every in-decoder selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, ShallowPruner

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RandomLayer(ShallowPruner):
    """Uniform random scores at FastV's place."""

    name: ClassVar[str] = "random-layer"
    draws: ClassVar[bool] = True

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        generator = torch.Generator().manual_seed(view.seed)
        return torch.rand(view.layout.n_prompt, generator=generator).to(view.index.device)[view.index]
