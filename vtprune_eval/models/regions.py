"""From a map of attention over the blocks of an image to points: connected regions of high values.

The rule is that of GUI-Actor (arXiv 2506.03143) and FocusUI (arXiv 2601.03928). Their code looks for the neighbours of
a cell in the list of all cells above the threshold, which is quadratic; labelling the grid gives the same regions in
time linear in its cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Cells strictly above this share of the largest value belong to a region.
THRESHOLD = 0.3


@dataclass(frozen=True)
class Region:
    """Cells that touch along an edge.

    Attributes:
        point: (x, y) of the centroid of the cell centres, weighted by value, as fractions of the grid.
        mean: mean value.
        n_cells: their number.
    """

    point: tuple[float, float]
    mean: float
    n_cells: int


def regions(values: np.ndarray, threshold: float = THRESHOLD) -> list[Region]:
    """Regions of a map, highest mean first; of equal means the one that starts first in raster order.

    Args:
        values: ``(rows, columns)``, not negative.
        threshold: share of the largest value that a cell must exceed, in [0, 1).

    Returns:
        The regions; [] for a map without a positive value.
    """
    import cv2

    grid = np.asarray(values, dtype=np.float64)
    rows, cols = grid.shape
    above = grid > threshold * grid.max(initial=0.0)
    if not above.any():
        return []
    n, labels = cv2.connectedComponents(above.astype(np.uint8), connectivity=4)
    y, x = above.nonzero()
    label, value = labels[y, x], grid[y, x]
    weight = np.bincount(label, value, n)[1:]
    count = np.bincount(label, minlength=n)[1:]
    across = np.bincount(label, value * (x + 0.5), n)[1:] / weight / cols
    down = np.bincount(label, value * (y + 0.5), n)[1:] / weight / rows
    first = np.empty(n, dtype=np.int64)
    first[label[::-1]] = np.arange(len(label))[::-1]  # the last write of a label is its first cell
    mean = weight / count
    order = np.lexsort((first[1:], -mean))
    return [Region((float(across[i]), float(down[i])), float(mean[i]), int(count[i])) for i in order]
