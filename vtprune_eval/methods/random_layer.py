"""``random-layer``: visual tokens drawn uniformly after a decoder layer; the floor of every in-decoder selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Method, hyper

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RandomLayer(Method):
    """Uniform random scores at FastV's place."""

    name: ClassVar[str] = "random-layer"

    layer: int = hyper(2, "first layer (from 0) that sees fewer tokens", low=1)

    @property
    def layers(self) -> tuple[int, ...]:
        """After the layer before."""
        return (self.layer - 1,)

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        generator = torch.Generator().manual_seed(view.seed)
        return torch.rand(view.layout.n_prompt, generator=generator).to(view.index.device)[view.index]
