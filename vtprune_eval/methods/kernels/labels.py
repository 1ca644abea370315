"""What a target box and the flat regions of a screenshot say about its blocks (FocusUI, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .blocks import label_components


def box_coverage(box: Sequence[float], rows: int, cols: int, cell: int) -> np.ndarray:
    """Share of every cell that a box covers.

    Args:
        box: (x1, y1, x2, y2) in pixels; clipped to the image.
        rows, cols: cells; cell: pixels per side.

    Returns:
        float64 ``(rows, cols)`` in [0, 1].
    """
    x1, y1, x2, y2 = box
    tops, lefts = np.arange(rows) * cell, np.arange(cols) * cell
    tall = np.clip(np.minimum(tops + cell, y2) - np.maximum(tops, y1), 0, cell)
    wide = np.clip(np.minimum(lefts + cell, x2) - np.maximum(lefts, x1), 0, cell)
    return tall[:, None] * wide[None] / cell**2


def graph_components(image: np.ndarray, block: int, threshold: float = 2.0) -> np.ndarray:
    """UI-graph: components of 4-neighbour blocks whose difference is small.

    Two neighbours join when the L2 distance of their values in [0, 1] lies strictly below ``threshold``; the published
    code counts every value twice (two temporal copies), and so does this function.

    Args:
        image: RGB uint8 ``(rows * block, columns * block, 3)``; block: pixels per side; threshold: see above.

    Returns:
        component per block, int ``(rows, columns)``, numbered by first appearance in raster order.
    """
    rows, cols = image.shape[0] // block, image.shape[1] // block
    # Squared differences are summed as integers: no rounding at the threshold.
    limit = (threshold * 255.0) ** 2 / 2
    up, left = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    if cols > 1:
        left[:, 1:] = _block_sums(_squares(image[:, block:], image[:, :-block]), block) < limit
    if rows > 1:
        up[1:] = _block_sums(_squares(image[block:], image[:-block]), block) < limit
    return label_components(up, left)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared differences summed over the channels, int32 ``(height, width)``."""
    d = np.maximum(a, b) - np.minimum(a, b)
    square = np.multiply(d, d, dtype=np.int32)
    return square[..., 0] + square[..., 1] + square[..., 2]


def _block_sums(values: np.ndarray, block: int) -> np.ndarray:
    """Sums over blocks ``(height / block, width / block)``, int64."""
    lines = np.add.reduceat(values, np.arange(0, values.shape[0], block), axis=0, dtype=np.int64)
    return np.add.reduceat(lines, np.arange(0, values.shape[1], block), axis=1)


def graph_weights(labels: np.ndarray) -> np.ndarray:
    """Weight ``1 / max(1, ln(size + 1))`` of every block by the size of its component, float64, same shape."""
    sizes = np.bincount(labels.reshape(-1))
    return (1 / np.maximum(1.0, np.log(sizes + 1.0)))[labels]


def saliency_label(box: np.ndarray | None, graph: np.ndarray, share: float = 0.8) -> np.ndarray:
    """The paper's fused target: ``share * box + (1 - share) * graph``, float64, same shape as ``graph``.

    Args:
        box: covered share per block, None for no box; graph: weights of :func:`graph_weights`; share: lambda.
    """
    return (1 - share) * graph + (0 if box is None else share * box)
