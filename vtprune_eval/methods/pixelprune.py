"""PixelPrune: drop merge blocks that a causal predictor reproduces, before the ViT (arXiv 2604.00886).

Section 3: ``pred_2d`` (equation 2) predicts a block from its left, upper and upper-left neighbours; ``raster`` and
``serpentine`` from the last kept block of a scan. A block is kept unless its distance to the prediction is at most
tau. With tau = 0 the image can be rebuilt bit for bit (proposition 1); with tau > 0 and anchoring every block is
within tau of its reconstruction (proposition 2).

``auto`` is the paper's method. A numeric budget is an extension of this project: the smallest tau of
{0, 1/255, 2/255, ...} (metric max, anchored) that keeps at most K blocks, then omitted blocks are added back in order
of decreasing distance to their prediction until K are kept. If tau = 0 keeps fewer than K, that set is the answer.
The search has its own tau and metric, so the hyper-parameters of these names matter to ``auto`` only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..budget import StageBudget, split_with_needs
from .base import Method, PatchView, hyper
from .kernels.blocks import METRICS, Neighbours, to_blocks
from .kernels.scans import Pred2d, pred_2d, pred_2d_exact, run_scan, scan_exact, scan_line


@dataclass(frozen=True)
class PixelPrune(Method):
    """Predictive-coding selection of patches."""

    name: ClassVar[str] = "pixelprune"
    paper: ClassVar[str] = "PixelPrune: Pixel-Level Adaptive Visual Token Reduction via Predictive Coding (2604.00886)"
    year: ClassVar[int] = 2026
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Blocks are compared as 8-bit pixels after the resize, not as floats after normalisation (same result).",
        "Dropped patches are not embedded at all; the published code embeds them first and drops them then.",
        "Numeric budgets are an extension: the paper has none.",
        "vit_layer may lie between the DeepStack taps (6 to 17 of 24 blocks), which the published code refuses.",
    )
    adaptive: ClassVar[bool] = True

    predictor: str = hyper("pred_2d", "scan that predicts a block", choices=("pred_2d", "raster", "serpentine"))
    metric: str = hyper("max", "distance of two blocks", choices=METRICS)
    tau: float = hyper(0.0, "tolerance, on the [0, 1] pixel scale", low=0.0, high=1.0)
    anchored: bool = hyper(True, "compare with reconstructed neighbours; False drifts and is not what the paper runs")

    vit_layer: int = hyper(
        0, "drop the patches after this many ViT blocks (section 4.6.3); 0: before the ViT, its depth: after it", low=0
    )

    renumber: bool = hyper(False, "ablation: count positions anew after the drop, instead of keeping the full prompt's")

    @property
    def vit_depth(self) -> int:
        """See :class:`Method`."""
        return self.vit_layer

    @property
    def positions(self) -> str:
        """See :class:`Method`."""
        return "renumbered" if self.renumber else "kept"

    def select_patches(self, view: PatchView, budget: StageBudget) -> tuple[np.ndarray, ...]:
        """See :meth:`Method.select_patches`."""
        if budget.per_image is None:
            return tuple(self.keep(image, view.block) for image in view.images)
        counts = budget.per_image
        if len(counts) > 1 and budget.asked.kind != "like":
            # What an image without anything more to say leaves over goes to the others.
            exact = replace(self, tau=0.0, metric="max")
            needs = tuple(int(exact.keep(image, view.block).sum()) for image in view.images)
            sizes = tuple(rows * cols for rows, cols in view.grids)
            counts = split_with_needs(sum(counts), sizes, needs)
        return tuple(self._within(image, view.block, n) for image, n in zip(view.images, counts, strict=True))

    def keep(self, image: np.ndarray, block: int) -> np.ndarray:
        """Keep mask of one image at the configured tau, bool ``(rows, columns)``."""
        if self.tau == 0 or self.metric == "exact":
            if self.predictor == "pred_2d":
                return pred_2d_exact(image, block)
            return scan_exact(image, block, serpentine=self.predictor == "serpentine")
        near = Neighbours.of(to_blocks(image, block), self.metric, along_rows=self.predictor != "pred_2d")
        return self._scan(near, self.tau, self.anchored)[0]

    def _scan(self, near: Neighbours, tau: float, anchored: bool) -> tuple[np.ndarray, np.ndarray, float]:
        if self.predictor == "pred_2d":
            return pred_2d(near, tau, anchored)
        return run_scan(near, tau, serpentine=self.predictor == "serpentine", anchored=anchored)

    def _within(self, image: np.ndarray, block: int, n_keep: int) -> np.ndarray:
        """At most ``n_keep`` blocks: the upward search over tau, then the fill."""
        blocks = to_blocks(image, block)
        if n_keep == 0:
            return np.zeros(blocks.shape[:2], bool)
        near = Neighbours.of(blocks, "max", along_rows=self.predictor != "pred_2d")
        scan = Pred2d(near) if self.predictor == "pred_2d" else None  # moves from one tau to the next

        def at(tau: float) -> tuple[np.ndarray, np.ndarray, float]:
            if scan is None:
                return self._scan(near, tau, True)
            mask, following = scan.keep(tau)
            return mask, scan.residual.reshape(mask.shape), following

        keep, residual, next_tau = at(0.0)
        if int(keep.sum()) <= n_keep:
            return keep  # under budget: the image has no more to say
        # The count is not monotone in tau, so the search may not bisect. Two things shorten it without changing its
        # answer. A prediction lies within tau of an original neighbour, so a block further than 2 tau from each is
        # kept for certain: no tau that makes more than n_keep certain can do. And nothing changes before tau reaches
        # the next distance that the scan met.
        serpentine = self.predictor == "serpentine"
        closest = np.minimum(near.up, near.left) if self.predictor == "pred_2d" else scan_line(near, serpentine)[1]
        certain = round(float(np.sort(closest, axis=None)[-1 - n_keep]) * 255)
        level = -(-certain // 2)
        while int(keep.sum()) > n_keep:
            level = max(level, round(next_tau * 255))
            keep, residual, next_tau = at(level / 255.0)
        order = np.argsort(-np.where(keep, -1.0, residual).reshape(-1), kind="stable")
        keep.reshape(-1)[order[: n_keep - int(keep.sum())]] = True
        return keep
