"""``snapkv``: keep the cache entries that the end of the prompt attends to.

Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation", arXiv 2404.14469. Parameters are those of
GUI-KV's comparison (window 8, average pooling over 5, separate sets per query head); the paper's own are larger
windows, reached by ``--set window_size=32``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Method, hyper
from .kernels.attention import best, pooled, window_attention

if TYPE_CHECKING:
    from torch import Tensor

GRANULARITY = (
    "sets per query head (stored once each, as published), per kv head (mean over its query heads), or "
    "the set of each group's first query head"
)


def window_of(size: int, capacity: int) -> int:
    """Observation window for a capacity: at most ``size``, and two entries are left for the past (GUI-KV, Q6)."""
    return min(size, max(1, capacity - 2))


def all_entries(view: LayerView, heads: int) -> Tensor:
    """The answer that keeps everything, ``(heads, n)``."""
    return torch.arange(len(view.index), device=view.index.device).expand(heads, -1)


def with_window(past: Tensor, n: int, window: int) -> Tensor:
    """Append the last ``window`` of ``n`` positions to every row of ``past``."""
    last = torch.arange(n - window, n, device=past.device).expand(past.shape[0], -1)
    return torch.cat([past, last], 1)


@dataclass(frozen=True)
class SnapKV(Method):
    """Top entries by pooled window attention, plus the window."""

    name: ClassVar[str] = "snapkv"
    paper: ClassVar[str] = "Li et al., SnapKV, arXiv 2404.14469"
    deviations: ClassVar[tuple[str, ...]] = (
        "Scores stay float32; the published code casts them to bf16 before pooling, which creates ties.",
        "Kept entries are stored by position, not by score; attention does not depend on the order.",
    )

    window_size: int = hyper(8, "last prompt positions that observe and always stay", low=1, unit="tokens")
    kernel: int = hyper(5, "pooling width along the prompt (odd)", low=1, unit="tokens", choices=(1, 3, 5, 7, 9, 11))
    pooling: str = hyper("avg", "pooling of the scores", choices=("avg", "max"))
    granularity: str = hyper("query_head", GRANULARITY, choices=("query_head", "kv_head", "first"))

    @property
    def window(self) -> int:
        """Last queries needed."""
        return self.window_size

    @property
    def kv_granularity(self) -> str:
        """Heads that hold separate sets."""
        return "query_head" if self.granularity == "query_head" else "kv_head"

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`; the budget is the capacity per head, window included."""
        assert budget.n_keep is not None
        n_q, n = view.queries.shape[0], len(view.index)
        capacity = max(2, budget.n_keep)
        window = window_of(self.window_size, capacity)
        past = self.past_entries(view, capacity - window, window)
        if capacity >= n or n <= window + 2 or past >= n - window:
            return all_entries(view, n_q if self.granularity == "query_head" else view.keys.shape[0])
        scores = self.scores(view, capacity, window)
        return with_window(best(scores, past, ties="late"), n, window)

    def past_entries(self, view: LayerView, past: int, window: int) -> int:
        """Entries to keep before the window at this layer, given the uniform share ``past``."""
        return past

    def scores(self, view: LayerView, capacity: int, window: int) -> Tensor:
        """Score of every entry before the window, float32 ``(heads, n - window)``."""
        return self.attention(view, window)

    def attention(self, view: LayerView, window: int) -> Tensor:
        """Pooled window attention of the past, reduced to the heads that hold sets."""
        n = len(view.index)
        received = window_attention(view.queries[:, -window:], view.keys)[:, : n - window]
        n_kv = view.keys.shape[0]
        if self.granularity == "kv_head":
            received = received.view(n_kv, -1, n - window).mean(1)
        elif self.granularity == "first":
            received = received.view(n_kv, -1, n - window)[:, 0]
        return pooled(received, self.kernel, self.pooling)
