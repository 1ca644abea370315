"""``vscan-two-stage``: VScan as published, the scans of ``vscan`` in the encoder and a cut in the decoder's middle.

Zhang et al., "VScan: Rethinking Visual Token Reduction for Efficient Large Vision-Language Models", arXiv 2505.22654
(TMLR 2026), sections 4.1 and 4.2. Half of the layers see what the first stage left; behind them a third of it stays, by
the attention of the prompt's last token. The released commands run 16.7 % of the tokens before layer 14 of 28 and
33.3 % of these behind it, and call it 11.1 %: the mean over the layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget, rounded
from ..errors import UserError
from .base import LayerView, hyper
from .kernels.attention import window_attention
from .vscan import VScan

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class VScanTwoStage(VScan):
    """Scans and merging in the encoder, last-token attention in the middle of the decoder."""

    name: ClassVar[str] = "vscan-two-stage"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "The first stage keeps what makes the mean over the layers the budget, the second one what is left for it; "
        "where that is more than all tokens the second stage alone drops some.",
        "The cut is behind half of the layers, which is 14 of 28 and 16 of 32 as published.",
        "The second stage's queries and keys are rotated, as in the released LLaVA form; the Qwen form leaves the "
        "rotation out.",
        *VScan.deviations[1:],
    )
    paper_reading: ClassVar[str] = (
        "b % is the mean over the layers: int(r N) tokens enter the decoder, int(second r N) stay behind half of it "
        "(16.7 and 33.3 % are called 11.1)"
    )

    second: float = hyper(0.333, "share of the first stage's tokens that stays behind the cut", low=0.01, high=1.0)

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """See :meth:`Method.layers_of`.

        Raises:
            UserError: a decoder of one layer.
        """
        if n_layers < 2:
            raise UserError(f"{self.name} cuts behind half of the decoder's layers, and this one has {n_layers}.")
        return (n_layers // 2 - 1,)

    def entering(self, budget: StageBudget, n_layers: int) -> int:
        """See :meth:`Method.entering`."""
        if budget.n_keep is None or budget.n_keep >= budget.n_full:
            return budget.limit
        before = self.layers_of(n_layers)[0] + 1
        mean = budget.share * budget.n_full if budget.asked.reading == "paper" else Fraction(budget.n_keep)
        weight = before + self._share * (n_layers - before)
        return max(1, min(budget.n_full, rounded(mean * n_layers / weight, "down")))

    @property
    def _share(self) -> Fraction:
        return Fraction(self.second).limit_denominator(10**6)

    def stage_counts(self, kept: tuple[int, ...], n_layers: int, budget: StageBudget) -> tuple[int, ...]:
        """See :meth:`Method.stage_counts`."""
        if budget.n_keep is not None and budget.asked.reading == "paper":
            return (max(1, rounded(self._share * sum(kept), "down")),)
        return super().stage_counts(kept, n_layers, budget)

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`; the next layer's projections of this layer's output score."""
        assert view.next_layer is not None
        queries, keys = view.next_layer(torch.arange(len(view.index), device=view.index.device))
        return window_attention(queries[:, -1:], keys).mean(0)
