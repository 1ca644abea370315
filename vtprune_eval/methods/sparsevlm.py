"""``sparsevlm``: rank visual tokens by the text tokens that are about the image, in three stages; recycle the rest.

Zhang et al., "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference",
arXiv 2410.04417 (ICML 2025).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerEdit, LayerView, Method, hyper
from .kernels.attention import rows_attention
from .kernels.topk import kept_by_score
from .pyramiddrop import stage_lengths

if TYPE_CHECKING:
    from torch import Tensor

# Tokens kept after the three stages, of 576, for average budgets of 64, 128, 192 tokens (released settings).
_LISTS = ((64, (66, 30, 17)), (128, (303, 110, 36)), (192, (300, 200, 110)))


def listed_shares(at: float) -> tuple[float, float, float]:
    """Share of all visual tokens kept after each stage, interpolated between the released lists.

    Linear between the knots 0, 64, 128, 192 and 576 of 576; the lists are not monotone in the first stage.
    """
    knots = [
        (0.0, (0.0, 0.0, 0.0)),
        *((n / 576, (a / 576, b / 576, c / 576)) for n, (a, b, c) in _LISTS),
        (1.0, (1.0, 1.0, 1.0)),
    ]
    for (x0, low), (x1, high) in itertools.pairwise(knots):
        if at <= x1:
            part = (at - x0) / (x1 - x0)
            a, b, c = (u + part * (v - u) for u, v in zip(low, high, strict=True))
            return a, b, c
    return 1.0, 1.0, 1.0


@lru_cache(maxsize=64)  # asked for at every stage of every sample, and part of its measured selection
def stage_shares(mean: float, lengths: tuple[int, ...]) -> tuple[float, ...]:
    """Share of all visual tokens kept after each stage, such that the mean over all layers is ``mean``.

    Args:
        mean: in (0, 1].
        lengths: layers of the stages, the first (which sees every token) included; a decoder so shallow that stages
            fall together has fewer than four, and the first of the released shares are left out.

    Returns:
        one share per stage but the first; where the first alone exceeds ``mean``, those of the lists at 1 %.
    """
    n_cuts = len(lengths) - 1

    def shares(at: float) -> tuple[float, ...]:
        return listed_shares(at)[3 - n_cuts :]

    low, high = 0.01, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        total = lengths[0] + sum(n * s for n, s in zip(lengths[1:], shares(middle), strict=True))
        low, high = (middle, high) if total < mean * sum(lengths) else (low, middle)
    return shares(high)


@dataclass(frozen=True)
class SparseVLM(Method):
    """Text raters, three stages, recycling of what is dropped."""

    name: ClassVar[str] = "sparsevlm"
    paper: ClassVar[str] = "Zhang et al., SparseVLM, arXiv 2410.04417"
    deviations: ClassVar[tuple[str, ...]] = (
        "Counts follow the released lists, interpolated; the rank rule of the paper is not used. A budget is read as "
        "the mean over the model's layers: the lists are taken at the point whose mean it is. Where the layers before "
        "the first stage alone exceed it, the lists are taken at 1 % and the measured mean stays above the budget.",
        "In 32 layers the released lists of 64, 128 and 192 tokens have means of 79, 141 and 203, so that a budget of "
        "as many tokens keeps fewer than they do.",
        "Recycled cluster tokens count inside the budget of a stage; the published code adds them on top.",
        "Cluster densities carry no random noise; ties go to the earlier token.",
        "Stages after layers 2, 6, 15 of 32, at the same depth in other decoders.",
    )

    recycle: bool = hyper(True, "merge the best dropped tokens into cluster tokens")
    recycle_share: float = hyper(0.3, "share of the dropped tokens that is recycled", low=0.0, high=1.0)

    @property
    def window(self) -> int:
        """All queries: raters stand anywhere in the text."""
        return -1

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """See :meth:`Method.layers_of`."""
        return tuple(sorted({min(n_layers - 1, k * n_layers // 32) for k in (2, 6, 15)}))

    def observed_layers(self, n_layers: int) -> tuple[int, ...]:
        """Raters are chosen from the embeddings that enter layer 0."""
        return (0,)

    def observe(self, view: LayerView) -> Tensor:
        """Positions in the full prompt of the text raters, sorted int64.

        Softmax over the text tokens of (visual . text), mean over the visual tokens; raters lie above the mean.
        """
        words, picture = view.hidden_in[~view.visual].float(), view.hidden_in[view.visual].float()
        relevance = torch.softmax(picture @ words.T, -1).mean(0)
        return view.index[~view.visual][relevance >= relevance.mean()]

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor | LayerEdit:
        """See :meth:`Method.prune_layer`."""
        ends = self.layers_of(view.n_layers)
        share = stage_shares(float(budget.share), stage_lengths(ends, view.n_layers))[ends.index(view.layer)]
        visual = view.visual.nonzero()[:, 0]
        n_keep = min(len(visual), max(1, int(view.layout.n_visual * share + 1e-9)))
        keep = ~view.visual
        if n_keep >= len(visual):
            return keep | view.visual
        raters = torch.isin(view.index, view.observed[0]).nonzero()[:, 0]
        scores = rows_attention(view.queries[:, raters], raters, view.keys).mean(0)[visual]
        n_recycled = int(self.recycle_share * (len(visual) - n_keep)) + 1
        n_clusters = min(n_recycled // 10 + 1, n_keep // 2) if self.recycle else 0
        kept = kept_by_score(scores, n_keep - n_clusters)
        keep[visual[kept]] = True
        if not n_clusters:
            return keep
        rest = visual[~kept]
        chosen = rest[torch.sort(scores[~kept], descending=True, stable=True).indices[:n_recycled]].sort().values
        centres, means = clusters(view.hidden_out[chosen].float(), n_clusters)
        rows = chosen[centres]
        keep[rows] = True
        return LayerEdit(keep, rows, means)


def clusters(x: Tensor, n: int, neighbours: int = 5) -> tuple[Tensor, Tensor]:
    """Density-peak clustering.

    Args:
        x: ``(m, dim)`` float32; n: clusters, at most ``m``; neighbours: of the density estimate.

    Returns:
        index of each cluster's centre, sorted int64 ``(n,)``, and the clusters' means ``(n, dim)``.
    """
    distance = torch.cdist(x, x) / x.shape[1] ** 0.5
    k = min(neighbours, len(x))
    density = (-distance.topk(k, largest=False).values.square().mean(-1)).exp()
    # A point is lower than an earlier one of equal density, so that one of several equal points is the peak.
    order = torch.arange(len(x), device=x.device)
    higher = (density[None] > density[:, None]) | ((density[None] == density[:, None]) & (order[None] < order[:, None]))
    gap = distance.masked_fill(~higher, float("inf")).amin(-1)
    gap = torch.where(torch.isinf(gap), distance.max(), gap)
    centres = torch.sort(density * gap, descending=True, stable=True).indices[:n].sort().values
    member = distance[:, centres].argmin(-1)
    member[centres] = torch.arange(len(centres), device=x.device)
    sums = torch.zeros(len(centres), x.shape[1], device=x.device).index_add_(0, member, x)
    return centres, sums / torch.bincount(member, minlength=len(centres))[:, None]
