"""``pyramiddrop``: drop visual tokens in stages, each keeping the same share of the one before.

Xing et al., "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction",
arXiv 2410.17247 (CVPR 2025).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Method, hyper
from .kernels.attention import window_attention
from .kernels.topk import kept_by_score

if TYPE_CHECKING:
    from torch import Tensor


def stage_lengths(ends: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Layers before the first of the layers ``ends`` after which tokens are dropped, between them, and behind."""
    bounds = [0, *(e + 1 for e in ends), n_layers]
    return tuple(b - a for a, b in itertools.pairwise(bounds))


@lru_cache(maxsize=64)  # asked for at every stage of every sample, and part of its measured selection
def stage_share(mean: float, lengths: tuple[int, ...]) -> float:
    """The share ``l`` of each stage for which the mean over all layers, ``sum(n_i l^i) / sum(n_i)``, equals ``mean``.

    The first stage sees every token: where it alone exceeds ``mean``, 0.01, the smallest share.

    Args:
        mean: in (0, 1]; lengths: layers n_i of every stage, the first included.
    """
    low, high = 0.01, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(n * middle**i for i, n in enumerate(lengths)) < mean * sum(lengths):
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class PyramidDrop(Method):
    """Stages after a quarter, half and three quarters of the layers."""

    name: ClassVar[str] = "pyramiddrop"
    paper: ClassVar[str] = "Xing et al., PyramidDrop, arXiv 2410.17247"
    deviations: ClassVar[tuple[str, ...]] = (
        "A budget is read as the mean over the model's layers: the share l of a stage solves sum(n_i l^i) = budget L "
        "for stages of n_i layers. The first stage (a quarter of the layers, rounded) sees every token; where it alone "
        "exceeds the budget, l = 0.01 and the measured mean stays above the budget.",
        "Stages after L/4, L/2 and 3L/4 layers, which is 8, 16, 24 for the paper's 32.",
    )

    share: float = hyper(
        0.0,
        "share of the previous stage that is kept (0.5 in the paper); 0 takes it from the budget",
        low=0.0,
        high=1.0,
    )

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """See :meth:`Method.layers_of`."""
        ends = {max(1, n_layers * i // 4) for i in (1, 2, 3)}
        return tuple(sorted(e - 1 for e in ends if e < n_layers))

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`; scores come from the next layer's projections of this layer's output."""
        assert view.next_layer is not None
        ends = self.layers_of(view.n_layers)
        share = self.share or stage_share(float(budget.share), stage_lengths(ends, view.n_layers))
        stage = ends.index(view.layer) + 1
        n_keep = max(1, int(view.layout.n_visual * share**stage + 1e-9))
        queries, keys = view.next_layer(torch.arange(len(view.index), device=view.index.device))
        scores = window_attention(queries[:, -1:], keys).mean(0)
        keep = ~view.visual
        keep[view.visual] = kept_by_score(scores[view.visual], n_keep)
        return keep
