"""``lagkv``: keep the cache entries that stand out against the block of entries behind them.

Liang et al., "LagKV: Lag-Relative Information of the KV Cache Tells Which Tokens Are Important", arXiv 2504.04704: keys
and values are scaled by the range of the next block, channel by channel; the spread over channels is ranked inside each
block. No attention is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import LayerView, Method, Room, hyper
from .kernels.cache_scores import lagkv

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LagKV(Method):
    """Rank of the lag-relative spread inside each block."""

    name: ClassVar[str] = "lagkv"
    paper: ClassVar[str] = "Liang et al., LagKV, arXiv 2504.04704"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "A prompt shorter than the sinks and two blocks keeps its sinks and its end, as in kvpress.",
        "A channel without a range in the block behind counts as 0; the published code divides by zero there.",
        "Equal ranks of different blocks are the rule; of those at the cut the later entries stay.",
    )

    lag: int = hyper(128, "entries per block", low=1, unit="entries")
    sinks: int = hyper(4, "first positions that come first", low=0, unit="entries")

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        return lagkv(view.keys, view.values, self.lag, self.sinks)
