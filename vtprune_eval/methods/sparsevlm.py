"""``sparsevlm``: rank visual tokens by the text tokens that are about the image, in three stages; recycle the rest.

Zhang et al., "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference",
arXiv 2410.04417 (ICML 2025), section 3; version 1 of the release, with recycling (``sparsevlm-plus`` is version 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget, largest, rounded
from .base import LayerEdit, LayerView, hyper
from .kernels.merging import density_peaks
from .kernels.pivots import falling
from .kernels.raters import STAGES, after_stage, listed_shares, rater_scores, recycled, stage_sizes, text_raters
from .kernels.schedules import stage_lengths
from .kernels.staged import Staged, cut_after
from .kernels.topk import kept_by_score, true_places

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SparseVLM(Staged):
    """Text raters, three stages, recycling of what is dropped."""

    name: ClassVar[str] = "sparsevlm"
    paper: ClassVar[str] = "Zhang et al., SparseVLM, arXiv 2410.04417"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    version: ClassVar[int] = 1
    deviations: ClassVar[tuple[str, ...]] = (
        "Counts follow the released lists, interpolated; the rank rule of the paper is not used. In the reading equal "
        "the lists are taken at the point whose mean over the layers is the budget, at 1 % or more, and recycled "
        "cluster tokens count inside it; the published code adds them on top.",
        "Cluster densities carry no random noise; of two equal ones the better token's counts as denser.",
        "Stages after layers 2, 6, 15 (from 0) of 32, at the same depth in other decoders.",
        "A merged token takes the place of its cluster's centre and positions are kept; the released code appends "
        "merged tokens behind the image and renumbers.",
        "Without a rater above the mean (one word of text) all text behind the image rates; the released code has no "
        "scores then.",
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
        return tuple(sorted({min(n_layers - 1, k * n_layers // 32) for k in STAGES}))

    def least_share(self, n_layers: int) -> Fraction:
        """See :meth:`Method.least_share`; the lists are taken at 1 % or more."""
        lengths = stage_lengths(self.layers_of(n_layers), n_layers)
        shares = listed_shares(Fraction(1, 100), self.version)[4 - len(lengths) :]
        return (lengths[0] + sum((n * s for n, s in zip(lengths[1:], shares, strict=True)), Fraction(0))) / n_layers

    def stage_counts(self, kept: tuple[int, ...], n_layers: int, budget: StageBudget) -> tuple[int, ...]:
        """See :meth:`Method.stage_counts`; recycled tokens are among those that are left."""
        if budget.n_keep is None:
            return ()
        n, lengths = sum(kept), stage_lengths(self.layers_of(n_layers), n_layers)
        if budget.asked.reading != "paper":
            return stage_sizes(n, budget.n_keep * n_layers, lengths, self.version)
        out, left = [], n
        for share in listed_shares(budget.share, self.version)[4 - len(lengths) :]:
            listed = max(1, rounded(n * share, "down"))
            left = max(1, sum(after_stage(left, listed, 1 if self.recycle else 2, self.recycle_share)))
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
            shares = listed_shares(budget.share, self.version)[3 - len(self.layers_of(view.n_layers)) :]
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
        """Positions in the full prompt of the text raters, sorted int64; text before the last image rates nothing."""
        rows = view.text_after if view.n_after_images else view.text_rows
        return view.index[rows[text_raters(view.hidden_in[view.visual_rows], view.hidden_in[rows])]]

    def scores(self, view: LayerView, raters: Tensor, visual: Tensor) -> Tensor:
        """Score of the visual tokens at rows ``visual`` by the raters' rows, float32."""
        return rater_scores(view.queries[:, raters], raters, view.keys)[visual]

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor | LayerEdit:
        """See :meth:`Method.prune_layer`."""
        ends = self.layers_of(view.n_layers)
        visual = view.visual_rows
        keep = ~view.visual
        if budget.n_keep is None or budget.n_keep >= len(visual):
            return keep | view.visual
        n_alone, n_merged, n_centres = self._split(len(visual), budget, ends.index(view.layer), view)
        # All text stays, so that every rater is still there.
        raters = true_places(torch.isin(view.index, view.observed[0])[None], len(view.observed[0]))[0]
        scores = self.scores(view, raters, visual)
        kept = kept_by_score(scores, n_alone)
        keep[visual[true_places(kept[None], n_alone)[0]]] = True
        if not n_centres:
            return keep
        rest = true_places(~kept[None], len(visual) - n_alone)[0]
        chosen = visual[rest[falling(scores[rest])[:n_merged]]]
        found = density_peaks(view.hidden_out[chosen], n_centres)
        rows = chosen[found.centres]
        keep[rows] = True
        return LayerEdit(keep, rows, found.means)
