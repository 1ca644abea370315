"""``h2o``: heavy hitters by the attention accumulated over the whole prompt, and a recent window.

Zhang et al., "H2O: Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models",
arXiv 2306.14048. The accumulated attention needs every query: its cost is that of an attention layer without values,
and is timed as selection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import LayerView, Method, Room, hyper
from .kernels.attention import per_kv_head, received_attention
from .kernels.cache_scores import observed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class H2O(Method):
    """Half of the capacity for heavy hitters, half for the most recent entries."""

    name: ClassVar[str] = "h2o"
    paper: ClassVar[str] = "Zhang et al., H2O, arXiv 2306.14048"
    year: ClassVar[int] = 2023
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Applied once, after prefill; the paper goes on evicting while it decodes.",
        "With grouped keys the scores of a group's query heads are added (the paper's models have one key per query).",
    )

    paper_of: ClassVar[str] = "prompt"

    recent: float = hyper(0.5, "share of the capacity for the most recent entries", low=0.0, high=1.0)
    per_row: bool = hyper(False, "divide by the rows that see an entry, as kvpress' observed attention does")

    @property
    def window(self) -> int:
        """All queries."""
        return -1

    def kept_window(self, capacity: int) -> int:
        """See :meth:`Method.kept_window`."""
        return max(1, int(capacity * self.recent + 1e-9))

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        if self.per_row:
            return observed(view.queries, view.keys)
        return per_kv_head(received_attention(view.queries, view.keys), view.keys.shape[0], "sum")
