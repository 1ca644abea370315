"""``streamingllm``: attention sinks and a recent window; no scores. The floor of every cache plot.

Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Method, hyper

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StreamingLLM(Method):
    """The first and the last entries of the prompt."""

    name: ClassVar[str] = "streamingllm"
    paper: ClassVar[str] = "Xiao et al., StreamingLLM, arXiv 2309.17453"
    deviations: ClassVar[tuple[str, ...]] = (
        "Applied once, after prefill; keys keep the positions of the full prompt (the paper re-assigns positions "
        "inside the cache while streaming).",
    )

    sinks: int = hyper(4, "first positions that always stay", low=0, unit="tokens")

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`."""
        assert budget.n_keep is not None
        n, capacity = len(view.index), min(max(1, budget.n_keep), len(view.index))
        first = min(self.sinks, capacity - 1)
        kept = torch.cat([torch.arange(first), torch.arange(n - capacity + first, n)]).to(view.index.device)
        return kept.expand(view.keys.shape[0], -1)
