"""``sparsevlm``: rank visual tokens by the text tokens that are about the image, in three stages; recycle the rest.

Zhang et al., "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference",
arXiv 2410.04417 (ICML 2025).
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget, largest, rounded
from .base import LayerEdit, LayerView, Method, hyper
from .kernels.attention import rows_attention
from .kernels.topk import kept_by_score
from .pyramiddrop import cut_after, stage_lengths

if TYPE_CHECKING:
    from torch import Tensor

# Tokens kept after the three stages, of 576, for average budgets of 64, 128, 192 tokens (released settings).
_LISTS = ((64, (66, 30, 17)), (96, (238, 48, 26)), (128, (303, 110, 36)), (192, (300, 200, 110)))
STEPS = 100_000  # in which the place between the lists is solved for
LEAST = 0.01


@lru_cache(maxsize=256)
def listed_shares(at: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """Share of all visual tokens kept after each stage, interpolated between the released lists.

    Linear between the knots 0, 64, 96, 128, 192 and 576 of 576; the lists are not monotone in the first stage.
    """
    knots = [(0, (0, 0, 0)), *_LISTS, (576, (576, 576, 576))]
    for (x0, low), (x1, high) in itertools.pairwise(knots):
        if at * 576 <= x1:
            part = (at * 576 - x0) / (x1 - x0)
            a, b, c = ((u + part * (v - u)) / 576 for u, v in zip(low, high, strict=True))
            return a, b, c
    return Fraction(1), Fraction(1), Fraction(1)


@lru_cache(maxsize=64)
def stage_sizes(n: int, allowed: int, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Tokens after every cut, the recycled ones included, at the last place of the lists that is within ``allowed``.

    Args:
        n: tokens that enter; allowed: tokens that all layers together may process.
        lengths: layers of the stages, the first (which sees every token) included; a decoder so shallow that stages
            fall together has fewer than four, and the first of the released shares are left out.

    Returns:
        zeros where the lists at 1 % process more.
    """

    def sizes(step: int) -> list[int]:
        shares = listed_shares(Fraction(step, STEPS))[4 - len(lengths) :]
        return [max(1, rounded(n * share, "down")) for share in shares]

    def fits(step: int) -> bool:
        return n * lengths[0] + sum(a * b for a, b in zip(sizes(step), lengths[1:], strict=True)) <= allowed

    step = largest(fits, int(LEAST * STEPS), STEPS)
    return (0,) * (len(lengths) - 1) if step is None else tuple(sizes(step))


def recycled(n_dropped: int, share: float) -> tuple[int, int]:
    """Of ``n_dropped`` tokens, those that are recycled, and the cluster tokens that they become."""
    n = int(share * n_dropped) + 1
    return n, n // 10 + 1


@dataclass(frozen=True)
class SparseVLM(Method):
    """Text raters, three stages, recycling of what is dropped."""

    name: ClassVar[str] = "sparsevlm"
    paper: ClassVar[str] = "Zhang et al., SparseVLM, arXiv 2410.04417"
    deviations: ClassVar[tuple[str, ...]] = (
        "Counts follow the released lists, interpolated; the rank rule of the paper is not used. In the reading equal "
        "the lists are taken at the point whose mean over the layers is the budget, at 1 % or more, and recycled "
        "cluster tokens count inside it; the published code adds them on top.",
        "Cluster densities carry no random noise; ties go to the earlier token.",
        "Stages after layers 2, 6, 15 of 32, at the same depth in other decoders.",
    )

    paper_reading: ClassVar[str] = (
        "the released list of that name (33.3 is 192 of 576 tokens: 300, 200, 110 after the stages), with recycled "
        "tokens on top"
    )

    recycle: bool = hyper(True, "merge the best dropped tokens into cluster tokens")
    recycle_share: float = hyper(0.3, "share of the dropped tokens that is recycled", low=0.0, high=1.0)
    at: str = hyper("", "layers (1 is the first) after which tokens are dropped, such as 1/6/15; empty: as published")

    @property
    def window(self) -> int:
        """All queries: raters stand anywhere in the text."""
        return -1

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """See :meth:`Method.layers_of`."""
        if self.at:
            return cut_after(self.at, self.name, n_layers)
        return tuple(sorted({min(n_layers - 1, k * n_layers // 32) for k in (2, 6, 15)}))

    def least_share(self, n_layers: int) -> Fraction:
        """See :meth:`Method.least_share`; the lists are taken at 1 % or more."""
        lengths = stage_lengths(self.layers_of(n_layers), n_layers)
        shares = listed_shares(Fraction(1, 100))[4 - len(lengths) :]
        return (lengths[0] + sum((n * s for n, s in zip(lengths[1:], shares, strict=True)), Fraction(0))) / n_layers

    def earliest(self, n_layers: int) -> Method:
        """See :meth:`Method.earliest`: the same number of stages, the first after one layer."""
        ends = [1, *(k + 1 for k in self.layers_of(n_layers)[1:])]
        return dataclasses.replace(self, at="/".join(map(str, ends)))

    def stage_counts(self, kept: tuple[int, ...], n_layers: int, budget: StageBudget) -> tuple[int, ...]:
        """See :meth:`Method.stage_counts`; recycled tokens are among those that are left."""
        if budget.n_keep is None:
            return ()
        n, lengths = sum(kept), stage_lengths(self.layers_of(n_layers), n_layers)
        if budget.asked.reading != "paper":
            return stage_sizes(n, budget.n_keep * n_layers, lengths)
        out, left = [], n
        for share in listed_shares(budget.share)[4 - len(lengths) :]:
            alone = self._listed(n, share, left)
            left = alone + (recycled(left - alone, self.recycle_share)[1] if self.recycle else 0)
            out.append(left)
        return tuple(out)

    def _listed(self, n: int, share: Fraction, present: int) -> int:
        """Tokens that a released list keeps of ``present``, out of ``n`` at first, before recycled ones are added."""
        return max(1, min(present - 1, rounded(n * share, "down")))

    def _split(self, present: int, budget: StageBudget, stage: int, view: LayerView) -> tuple[int, int, int]:
        """Tokens that stay by score, those that are recycled, and the clusters that they become."""
        assert budget.n_keep is not None
        n_keep = budget.n_keep
        if budget.asked.reading == "paper":
            shares = listed_shares(budget.share)[3 - len(self.layers_of(view.n_layers)) :]
            n_alone = self._listed(view.layout.n_visual, shares[stage], present)
            return n_alone, *(recycled(present - n_alone, self.recycle_share) if self.recycle else (0, 0))
        if not self.recycle:
            return n_keep, 0, 0

        def fits(alone: int) -> bool:
            return alone + recycled(present - alone, self.recycle_share)[1] <= n_keep

        alone = largest(fits, n_keep // 2, n_keep - 1)
        if not alone:  # no room for a cluster beside a token
            return n_keep, 0, 0
        return alone, *recycled(present - alone, self.recycle_share)

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
        visual = view.visual.nonzero()[:, 0]
        keep = ~view.visual
        if budget.n_keep is None or budget.n_keep >= len(visual):
            return keep | view.visual
        n_alone, n_recycled, n_clusters = self._split(len(visual), budget, ends.index(view.layer), view)
        raters = torch.isin(view.index, view.observed[0]).nonzero()[:, 0]
        scores = rows_attention(view.queries[:, raters], raters, view.keys).mean(0)[visual]
        kept = kept_by_score(scores, n_alone)
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
