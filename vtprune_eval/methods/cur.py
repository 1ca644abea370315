"""``cur``: keep the cache entries of highest leverage.

Sengupta et al., "Value-Guided KV Compression for LLMs via Approximated CUR Decomposition", arXiv 2509.15038: squared
norm of the key times that of the value, each relative to its neighbourhood. No attention is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import LayerView, Method, Room, hyper
from .kernels.cache_scores import cur

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cur(Method):
    """Product of key and value leverage."""

    name: ClassVar[str] = "cur"
    paper: ClassVar[str] = "Sengupta et al., CurDKV, arXiv 2509.15038"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Exact norms, as kvpress does without its random projection.",
        "Sinks have score 1, which is not above every other score by construction; as in kvpress.",
    )

    neighbourhood: int = hyper(16, "entries per window of the relative norms", low=1, unit="entries")
    sinks: int = hyper(4, "first positions of score 1", low=0, unit="entries")

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        return cur(view.keys, view.values, self.neighbourhood, self.sinks)
