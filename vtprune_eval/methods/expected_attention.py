"""``expected-attention``: keep the cache entries that future queries are expected to attend to.

Devoto et al., "Expected Attention: KV Cache Compression by Estimating Attention from Future Queries Distribution",
arXiv 2510.00636, section 3. Future queries are taken as normal with the mean and covariance of the prompt's, before
rotary and then rotated to the next ``future`` positions; times the norm of the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import LayerView, Method, Room, hyper
from .kernels.cache_scores import expected_attention, mean_rotation, unrotated

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ExpectedAttention(Method):
    """Expected attention weight times value norm."""

    name: ClassVar[str] = "expected-attention"
    paper: ClassVar[str] = "Devoto et al., Expected Attention, arXiv 2510.00636"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "The future begins at the prompt's next position, which with M-RoPE is not its length.",
        "Queries before rotary are recovered by turning the rotated ones back (equal to rounding).",
    )

    future: int = hyper(512, "future positions over which the rotation is averaged", low=1, unit="positions")
    covariance: bool = hyper(True, "use the covariance of the queries, not their mean alone")
    value_norm: bool = hyper(True, "times the norm of the value")
    sinks: int = hyper(4, "first positions that are left out of the statistics and always stay", low=0, unit="entries")

    @property
    def window(self) -> int:
        """All queries: their mean and covariance are read."""
        return -1

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        start = view.layout.next_position
        ahead = torch.arange(start, start + self.future, device=view.keys.device)
        return expected_attention(
            unrotated(view.queries, view.rope),
            view.keys,
            view.values,
            mean_rotation(*view.rope_at(ahead), size=view.keys.shape[-1]),
            cov=self.covariance,
            vnorm=self.value_norm,
            sinks=self.sinks,
        )
