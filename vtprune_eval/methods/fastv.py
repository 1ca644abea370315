"""``fastv``: drop visual tokens after a shallow decoder layer by the attention of the last prompt token.

Chen et al., "An Image is Worth 1/2 Tokens After Layer 2", arXiv 2403.06764
(ECCV 2024), section 4.1: K = 2, R = 50 % in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..budget import Rounding, StageBudget
from .base import LayerView, ShallowPruner, hyper
from .kernels.attention import window_attention

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FastV(ShallowPruner):
    """Last-token attention of layer K - 1 ranks the visual tokens that enter layer K."""

    name: ClassVar[str] = "fastv"
    paper: ClassVar[str] = "Chen et al., FastV, arXiv 2403.06764"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Ranks by the last prompt token's attention, as the released code does; the paper's text speaks of the "
        "attention received from all tokens.",
        "Layers before K process and cache every token (trim=true empties their caches, too).",
    )
    paper_rounding: ClassVar[Rounding] = "nearest"
    paper_reading: ClassVar[str] = "b % of the visual tokens are left from layer K on, rounded to the nearest"

    trim: bool = hyper(False, "drop the tokens from the caches of the first layers, too")

    @property
    def trim_cache(self) -> bool:
        """See :class:`Method`."""
        return self.trim

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        return window_attention(view.queries[:, -1:], view.keys).mean(0)
