"""``stride``: merge blocks at even distances over the image, before the ViT. A trivial baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..budget import StageBudget
from .base import Method, PatchView


@dataclass(frozen=True)
class Stride(Method):
    """Even subsampling of rows and columns, then of the raster order to meet the count exactly."""

    name: ClassVar[str] = "stride"
    default_like: ClassVar[str | None] = "pixelprune"

    def select_patches(self, view: PatchView, budget: StageBudget) -> tuple[np.ndarray, ...]:
        """See :meth:`Method.select_patches`."""
        return tuple(even_grid(*grid, n) for grid, n in zip(view.grids, budget.image_limits, strict=True))


def even_grid(rows: int, cols: int, n: int) -> np.ndarray:
    """Exactly ``n`` blocks spread evenly over a grid.

    Rows are taken at even distances, as many as keeps the mesh square; each row gets its share of ``n``, at even
    distances, centred.

    Returns:
        bool ``(rows, columns)`` with ``n`` True entries.
    """
    keep = np.zeros((rows, cols), bool)
    if n < 1:
        return keep
    n_rows = min(rows, max(1, math.ceil(n / cols), round(math.sqrt(n * rows / cols))))
    n_rows = min(n_rows, n)
    chosen = ((2 * np.arange(n_rows) + 1) * rows) // (2 * n_rows)
    for i, row in enumerate(chosen):
        share = (n * (i + 1)) // n_rows - (n * i) // n_rows
        keep[row, ((2 * np.arange(share) + 1) * cols) // (2 * share)] = True
    return keep
