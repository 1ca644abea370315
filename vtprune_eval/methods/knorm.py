"""``knorm``: keep the cache entries with the smallest keys.

Devoto et al., "A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression", arXiv 2406.11430: score
-|k_j|, per kv head; no attention is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import LayerView, Method, Room
from .kernels.cache_scores import knorm

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KNorm(Method):
    """Smallest key norms."""

    name: ClassVar[str] = "knorm"
    paper: ClassVar[str] = "Devoto et al., L2-norm KV compression, arXiv 2406.11430"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Every layer is compressed, as in kvpress; the paper leaves the first two whole.",
    )

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        return knorm(view.keys)
