"""What a target box and the flat regions of a screenshot say about its blocks (FocusUI, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .blocks import equal_neighbours, label_components


def box_coverage(box: Sequence[float], rows: int, cols: int, cell: int) -> np.ndarray:
    """Share of every cell that a box covers.

    Args:
        box: (x1, y1, x2, y2) in pixels; clipped to the image.
        rows: cells.
        cols: cells.
        cell: pixels per side.

    Returns:
        float64 ``(rows, cols)`` in [0, 1].
    """
    x1, y1, x2, y2 = box
    tops, lefts = np.arange(rows) * cell, np.arange(cols) * cell
    tall = np.clip(np.minimum(tops + cell, y2) - np.maximum(tops, y1), 0, cell)
    wide = np.clip(np.minimum(lefts + cell, x2) - np.maximum(lefts, x1), 0, cell)
    share: np.ndarray = tall[:, None] * wide[None] / cell**2
    return share


def graph_components(image: np.ndarray, block: int, threshold: float = 2.0, copies: int = 2) -> np.ndarray:
    """UI-graph: components of 4-neighbour blocks whose difference is small.

    Two neighbours join when the L2 distance of their values in [0, 1] lies strictly below ``threshold``.

    Args:
        image: RGB uint8 ``(rows * block, columns * block, 3)``.
        block: pixels per side.
        threshold: see above.
        copies: how often every value is counted: twice in the published code (two temporal copies), once in the paper.

    Returns:
        component per block, int ``(rows, columns)``, numbered by first appearance in raster order.
    """
    same_up, same_left = equal_neighbours(image, block)
    view = image.reshape(image.shape[0] // block, block, image.shape[1] // block, block * 3).transpose(0, 2, 1, 3)
    limit = (threshold * 255.0) ** 2 / copies
    if limit <= 0:  # strictly below zero: nothing joins
        return np.arange(same_up.size).reshape(same_up.shape)
    return label_components(_near(view, same_up, (1, 0), limit), _near(view, same_left, (0, 1), limit))


def block_weights(image: np.ndarray, block: int, node: int) -> np.ndarray:
    """Weight of every block by the rarity of its region, float64 ``(rows, columns)``.

    Args:
        image: RGB uint8 ``(rows * block, columns * block, 3)``.
        block: pixels per side.
        node: pixels per side of the graph's nodes: ``block`` as the published code, or a patch as the paper, whose
            plain distances are not doubled; a block's weight is then the mean of its patches'.
    """
    if node == block:
        return graph_weights(graph_components(image, block))
    weights = graph_weights(graph_components(image, node, copies=1))
    side = block // node
    rows, cols = weights.shape
    return np.asarray(weights.reshape(rows // side, side, cols // side, side).mean((1, 3)))


def _near(blocks: np.ndarray, same: np.ndarray, step: tuple[int, int], limit: float) -> np.ndarray:
    """Which blocks differ from their neighbour at ``-step`` by a squared distance below ``limit``.

    Equal blocks are known; the others are compared a few pixel lines at a time and leave as soon as they are too far.
    Squares are summed as integers: no rounding at the limit.

    Args:
        blocks: uint8 ``(rows, columns, lines, values)``.
        same: bool ``(rows, columns)``, equal to the neighbour.
    """
    near: np.ndarray = same.copy()
    candidates = ~same
    if step[0]:
        candidates[0] = False
    else:
        candidates[:, 0] = False
    r, c = candidates.nonzero()
    total = np.zeros(len(r), np.int64)
    lines = blocks.shape[2]
    order = np.concatenate([np.arange(lines // 2, lines, 8), np.arange(lines // 2 - 4, -1, -8)])
    order = np.concatenate([order, np.setdiff1d(np.arange(lines), order)])
    for chunk in (order[:2], order[2:8], order[8:]):
        if not len(r):
            break
        a = blocks[r[:, None], c[:, None], chunk]
        b = blocks[r[:, None] - step[0], c[:, None] - step[1], chunk]
        d = (np.maximum(a, b) - np.minimum(a, b)).reshape(len(r), -1).astype(np.uint16)
        total += np.square(d).sum(1, dtype=np.int64)
        left = total < limit
        r, c, total = r[left], c[left], total[left]
    near[r, c] = True
    return near


def graph_weights(labels: np.ndarray) -> np.ndarray:
    """Weight ``1 / max(1, ln(size + 1))`` of every block by the size of its component, float64, same shape."""
    sizes = np.bincount(labels.reshape(-1))
    weights: np.ndarray = 1 / np.maximum(1.0, np.log(sizes + 1.0))
    of_blocks: np.ndarray = weights[labels]
    return of_blocks


def saliency_label(box: np.ndarray | None, graph: np.ndarray, share: float = 0.8) -> np.ndarray:
    """The paper's fused target: ``share * box + (1 - share) * graph``, float64, same shape as ``graph``.

    Args:
        box: covered share per block, None for no box.
        graph: weights of :func:`graph_weights`.
        share: lambda.
    """
    return (1 - share) * graph + (0 if box is None else share * box)
