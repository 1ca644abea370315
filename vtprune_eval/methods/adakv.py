"""``adakv``: SnapKV's scores, one budget shared by all heads of a layer.

Feng et al., "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget Allocation for Efficient LLM Inference",
arXiv 2407.11550, algorithm 1: the best entries of all heads together say how many each head keeps, with a floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Room, hyper
from .kernels.schedules import ada_counts, ada_exact, ada_sizes, kvpress_heads
from .kernels.topk import everything, padded, ragged
from .kernels.window import PRESETS, WindowScored

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AdaKV(WindowScored):
    """Pooled window attention; heads hold different numbers of entries."""

    name: ClassVar[str] = "adakv"
    paper: ClassVar[str] = "Feng et al., Ada-KV, arXiv 2407.11550"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "In the reading equal the heads' sizes add up to the layer's budget exactly; the published rounding need not.",
        "Entries are counted as a ragged cache holds them; here heads are padded to the longest, so the memory that is "
        "allocated is larger.",
        "form=kvpress keeps a share of each head's best for certain and drops the smallest of all heads together; its "
        "floor is a share of what is left beside text and window.",
        "Sets are per kv head (mean of the group before pooling); granularity=query_head is the authors' first form.",
    )

    preset: str = hyper("longbench", "published setting of window and pooling, as for snapkv", choices=tuple(PRESETS))
    floor: float = hyper(0.2, "share of the mean that every head keeps for certain", low=0.0, high=1.0)
    form: str = hyper(
        "authors", "how heads share: as the authors' code does, or as kvpress", choices=("authors", "kvpress")
    )
    normalize: bool = hyper(False, "scale a head's scores by the share of its best entries before heads compete")

    @property
    def ragged(self) -> bool:
        """See :attr:`Method.ragged`."""
        return True

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`."""
        n = len(view.index)
        heads = (view.queries if self.kv_granularity == "query_head" else view.keys).shape[0]
        capacity = max(2, budget.limit)
        room = Room(capacity, min(self.kept_window(capacity - budget.n_text), n), budget.n_text)
        always = torch.zeros(n, dtype=torch.bool, device=view.index.device)
        always[n - room.window :] = True
        others = torch.arange(n - room.window, device=view.index.device)
        if budget.n_text:
            always |= ~view.visual
            spans = [view.span_of(i) for i in range(len(view.layout.spans))]
            others = view.visual_rows[: sum(max(0, min(end, len(others)) - start) for start, end in spans)]
        free = len(others)
        base = capacity - (n - free)
        if capacity >= n or base >= free:
            return everything(n, heads, view.index.device)
        if base < 1:  # text and window take it all
            return super().compress_kv(view, budget)
        scores = self.score_kv(view, room)
        whole = torch.nn.functional.pad(scores.float(), (0, n - scores.shape[1]))
        if self.form == "kvpress":
            whole = whole.masked_fill(always, float("inf"))
            return padded(kvpress_heads(whole, capacity, n - free + int(base * self.floor)))
        counts = ada_counts(scores.index_select(1, others), base, self.normalize)
        if budget.asked.reading == "paper":
            sizes = [min(free, size) for size in ada_sizes(counts, base, self.floor)]
        else:
            sizes = ada_exact(counts, base, self.floor, free)
        return ragged(whole, always, n - free, sizes)
