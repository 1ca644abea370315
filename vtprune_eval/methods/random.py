"""``random``: as many merge blocks as the budget allows, drawn uniformly before the ViT.

The baseline of PixelPrune's tables (section 4.1): per image the count of another method, without replacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..budget import StageBudget
from .base import Method, PatchView, hyper


@dataclass(frozen=True)
class Random(Method):
    """Uniform random selection of patches."""

    name: ClassVar[str] = "random"
    draws: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Every sample has a seed of its own; PixelPrune's code sets seed 42 before every image (reseed=true).",
    )
    default_like: ClassVar[str | None] = "pixelprune"

    reseed: bool = hyper(False, "seed 42 before every image, as the published code does")

    def select_patches(self, view: PatchView, budget: StageBudget) -> tuple[np.ndarray, ...]:
        """See :meth:`Method.select_patches`."""
        rng = np.random.default_rng(view.seed)
        masks = []
        for (rows, cols), n in zip(view.grids, budget.image_limits, strict=True):
            if self.reseed:
                rng = np.random.default_rng(42)
            keep = np.zeros(rows * cols, bool)
            keep[rng.permutation(rows * cols)[:n]] = True
            masks.append(keep.reshape(rows, cols))
        return tuple(masks)
