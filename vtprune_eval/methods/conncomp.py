"""``conncomp``: thin out connected components of similar blocks (the structured baseline of arXiv 2604.00886, 4.1).

Components of 4-neighbour blocks within tau; each of size n > 1 keeps max(1, n - round(n * skip)) members drawn at
random, where skip is the share that the budget drops (round half to even); then random blocks are added or removed
until the count equals the budget. The first kept block is never removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..budget import StageBudget
from .base import Method, PatchView, hyper
from .kernels.blocks import METRICS, connected_components


@dataclass(frozen=True)
class ConnComp(Method):
    """Random thinning per connected component."""

    name: ClassVar[str] = "conncomp"
    draws: ClassVar[bool] = True
    paper: ClassVar[str] = "baseline of PixelPrune (2604.00886, section 4.1)"
    year: ClassVar[int] = 2026
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = ("Every sample has a seed of its own; the published code reseeds with 42.",)
    default_like: ClassVar[str | None] = "pixelprune"
    follows: ClassVar[tuple[str, ...]] = ("tau", "metric")  # one setting of both in the published code

    metric: str = hyper("max", "distance of two blocks", choices=METRICS)
    tau: float = hyper(0.0, "tolerance of an edge, on the [0, 1] pixel scale", low=0.0, high=1.0)

    def select_patches(self, view: PatchView, budget: StageBudget) -> tuple[np.ndarray, ...]:
        """See :meth:`Method.select_patches`."""
        rng = np.random.default_rng(view.seed)
        masks = []
        for image, n in zip(view.images, budget.image_limits, strict=True):
            labels = connected_components(image, view.block, self.tau, self.metric)
            keep = thin(labels.reshape(-1), 1 - n / labels.size, rng)
            masks.append(align(keep, n, rng).reshape(labels.shape))
        return tuple(masks)


def thin(labels: np.ndarray, skip: float, rng: np.random.Generator) -> np.ndarray:
    """Keep max(1, size - round(size * skip)) random members of every component.

    Args:
        labels: component of every block, ``(n,)``.
        skip: share to drop, [0, 1].
        rng: source of the draws.

    Returns:
        bool ``(n,)``.
    """
    # One random key per block; within a component the lowest keys stay.
    order = np.lexsort((rng.random(len(labels)), labels))
    sizes = np.bincount(labels)
    quota = np.where(sizes > 1, np.maximum(1, sizes - np.rint(sizes * skip).astype(int)), sizes)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keep = np.zeros(len(labels), bool)
    keep[order[rank < np.repeat(quota, sizes)]] = True
    return keep


def align(keep: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Add or remove random blocks until ``n`` are kept; the first kept block stays unless ``n`` is 0."""
    keep = keep.copy()
    if n == 0:
        keep[:] = False
        return keep
    excess = int(keep.sum()) - n
    if excess > 0:
        keep[rng.permutation(np.flatnonzero(keep)[1:])[:excess]] = False
    elif excess < 0:
        keep[rng.permutation(np.flatnonzero(~keep))[:-excess]] = True
    return keep
