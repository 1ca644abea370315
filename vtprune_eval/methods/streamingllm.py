"""``streamingllm``: attention sinks and a recent window; no scores. The floor of every cache plot.

Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv 2309.17453.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import LayerView, Method, Room, hyper
from .kernels.schedules import sink_and_recent

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StreamingLLM(Method):
    """The first and the last entries of the prompt."""

    name: ClassVar[str] = "streamingllm"
    paper: ClassVar[str] = "Xiao et al., StreamingLLM, arXiv 2309.17453"
    year: ClassVar[int] = 2023
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Applied once, after prefill; keys keep the positions of the full prompt (the paper re-assigns positions "
        "inside the cache while streaming).",
    )

    paper_of: ClassVar[str] = "prompt"

    sinks: int = hyper(4, "first positions that always stay", low=0, unit="tokens")

    def kept_window(self, capacity: int) -> int:
        """See :meth:`Method.kept_window`; all that the sinks leave."""
        return max(1, sink_and_recent(capacity, capacity, self.sinks)[1])

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`; the first entries are the best."""
        return -torch.arange(len(view.index), device=view.index.device, dtype=torch.float32)[None]
