"""``holov``: the budget is spread over crops of the image by how much they hold, and spent on attention inside each.

Zou et al., "Don't Just Chase 'Highlighted Tokens' in MLLMs: Revisiting Visual Holistic Context Retention",
arXiv 2510.02912 (NeurIPS 2025). A crop's weight is the mean over its tokens of attention plus beta times the (scaled)
variance of a token's cosines to the others of the crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenView, hyper
from .kernels.attended import Attended, attended_layer
from .kernels.crops import crop_weights, shares_of_crops
from .kernels.topk import best

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class HoloV(Attended, Method):
    """Crops by attention and variety, tokens inside a crop by attention."""

    name: ClassVar[str] = "holov"
    paper: ClassVar[str] = "Zou et al., HoloV, arXiv 2510.02912"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "port"
    deviations: ClassVar[tuple[str, ...]] = (
        "Crops are runs of the raster order, as in the released code (16 of 576 tokens); here every image has 16.",
        "What a full crop cannot take goes to the crops of largest weight; the released code pads with zeros instead.",
        "Without a CLS token the score is the attention received from all patches, whose mean is 1 here; the released "
        "code multiplies attention by 1000, which its scaling of the variance cancels.",
        "Compared behind the merger; positions are kept.",
    )

    crops: int = hyper(16, "crops per image", low=1)
    beta: float = hyper(0.09, "weight of the variance of the cosines", low=0.0)
    layer: str = attended_layer()

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        received = self.received(view)
        sizes = [int(part.sum()) for part in view.present.split(list(view.layout.n_tokens))]
        rows = torch.arange(len(received), device=received.device)
        crops = [crop for part in rows.split(sizes) for crop in part.tensor_split(self.crops) if len(crop)]
        weights = crop_weights(view.features, received, crops, self.beta)
        shares = shares_of_crops(weights, [len(crop) for crop in crops], min(len(received), budget.limit))
        keep = torch.zeros(len(received), dtype=torch.bool, device=received.device)
        for crop, share in zip(crops, shares, strict=True):
            keep[crop[best(received[crop][None], share)[0]]] = True
        return keep
