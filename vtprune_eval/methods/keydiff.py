"""``keydiff``: keep the cache entries whose keys differ from the others.

Park et al., "KeyDiff: Key Similarity-Based KV Cache Eviction for Long-Context LLM Inference in Resource-Constrained
Environments", arXiv 2504.15364: score -cos(k_j, mean of the unit keys), per kv head; no attention is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import LayerView, Method, Room
from .kernels.cache_scores import keydiff

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KeyDiff(Method):
    """Least like the mean key."""

    name: ClassVar[str] = "keydiff"
    paper: ClassVar[str] = "Park et al., KeyDiff, arXiv 2504.15364"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Applied once to the whole prompt, as in kvpress; the paper evicts block by block during prefill.",
    )

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        return keydiff(view.keys)
