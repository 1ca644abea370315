"""``tova``: keep the cache entries that the last prompt token attends to.

Oren et al., "Transformers are Multi-State RNNs", arXiv 2401.06104, section 3: attention of the last position, averaged
over all query heads, one set for all kv heads of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import LayerView, Method, Room
from .kernels.cache_scores import tova

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tova(Method):
    """Attention of the last token, shared by all heads."""

    name: ClassVar[str] = "tova"
    paper: ClassVar[str] = "Oren et al., TOVA, arXiv 2401.06104"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Applied once, after prefill, as in kvpress; the paper drops one entry at every step.",
    )

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        return tova(view.queries, view.keys)
