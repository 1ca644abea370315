"""Similarity of neighbouring pixel blocks, and the predictive scans of PixelPrune (arXiv 2604.00886, section 3).

A block is one merge block: ``block x block`` RGB pixels, one visual token. All functions work on the uint8 image after
the processor's resize; distances are on the [0, 1] scale, i.e. integer differences divided by 255.

Everything here is exact integer or float64 arithmetic on numpy arrays; images are ``(rows * block, columns * block,
3)``, grids ``(rows, columns)``.
"""

from __future__ import annotations

import numpy as np

METRICS = ("max", "mae", "rmse", "exact")


def to_blocks(image: np.ndarray, block: int) -> np.ndarray:
    """Blocks as vectors: uint8 ``(rows, columns, block * block * 3)``, contiguous."""
    rows, cols = image.shape[0] // block, image.shape[1] // block
    view = image.reshape(rows, block, cols, block * 3).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(view).reshape(rows, cols, -1)


def equal_neighbours(image: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Which blocks equal their upper and their left neighbour, pixel for pixel.

    The image is compared as 64-bit words in place: one pass per direction, no copy into blocks.

    Returns:
        up, left: bool ``(rows, columns)``; False in the first row (up) and the first column (left).
    """
    rows, cols = image.shape[0] // block, image.shape[1] // block
    up, left = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    row_bytes = block * 3
    word = np.uint64 if row_bytes % 8 == 0 else np.uint32 if row_bytes % 4 == 0 else np.uint8
    words = np.ascontiguousarray(image).reshape(rows, block, -1).view(word)  # (rows, block, columns * per)
    per = row_bytes // np.dtype(word).itemsize
    if rows > 1:
        different = words[1:] != words[:-1]
        up[1:] = ~different.any(1).reshape(rows - 1, cols, per).any(2)
    if cols > 1:
        different = words[:, :, per:] != words[:, :, :-per]
        left[:, 1:] = ~different.any(1).reshape(rows, cols - 1, per).any(2)
    return up, left


def distance(x: np.ndarray, y: np.ndarray, metric: str) -> np.ndarray:
    """Distance of block vectors ``(..., D)`` uint8, on the [0, 1] scale, float64 ``(...)``.

    ``max``: max |x - y|; ``mae``: mean |x - y|; ``rmse``: sqrt(mean (x - y)^2); ``exact`` as ``max``.
    """
    if metric == "rmse":
        d = x.astype(np.int32) - y
        return np.sqrt(np.einsum("...i,...i->...", d, d) / x.shape[-1]) / 255.0
    # |x - y| of bytes without widening: the larger minus the smaller.
    d = np.maximum(x, y)
    d -= np.minimum(x, y)
    if metric == "mae":
        return d.sum(-1, dtype=np.int64) / (255.0 * x.shape[-1])
    return d.max(-1) / 255.0


def pred_2d_exact(image: np.ndarray, block: int) -> np.ndarray:
    """Equation 2 at tau = 0, from two equality maps.

    With A left, B above, C above-left of X: "C equals A" is the up map one column to the left, and "C equals B" is
    the left map one row up, so no further comparison is needed.
    """
    up, left = equal_neighbours(image, block)
    c_is_a = np.zeros_like(up)
    c_is_a[:, 1:] = up[:, :-1]
    c_is_b = np.zeros_like(left)
    c_is_b[1:] = left[:-1]
    from_above = c_is_a & ~c_is_b
    from_above[:, 0] = True
    from_above[0] = False
    return ~np.where(from_above, up, left)


def pred_2d(blocks: np.ndarray, tau: float, metric: str, anchored: bool = True) -> tuple[np.ndarray, np.ndarray, float]:
    """Equation 2 with tolerance, by anti-diagonals.

    A block depends on its left, upper and upper-left neighbours only, so all blocks with one row + column are
    independent given the two anti-diagonals before them: rows + columns - 1 vector steps instead of one per block.

    Args:
        blocks: uint8 ``(rows, columns, D)``.
        tau: tolerance on the [0, 1] scale; metric: one of :data:`METRICS`.
        anchored: compare with reconstructed neighbours (proposition 2 holds); False compares with the originals.

    Returns:
        keep: bool ``(rows, columns)``; residual: distance of every block to its prediction, float64, inf at (0, 0);
        next_tau: smallest distance above ``tau`` that was met; at every tau below it the result is the same.
    """
    rows, cols, size = blocks.shape
    keep = np.ones((rows, cols), bool)
    residual = np.full((rows, cols), np.inf)
    tau = 0.0 if metric == "exact" else tau
    # Where each block's reconstruction lives: a kept block is its own source, an omitted one its prediction's. Blocks
    # that equal a neighbour share the first one's index from the start: two equal sources need no distance.
    flat = blocks.reshape(rows * cols, size)
    own = _first_of_equals(blocks)
    source = own.copy()
    next_tau = np.inf
    for diagonal in range(1, rows + cols - 1):
        r = np.arange(max(0, diagonal - cols + 1), min(rows, diagonal + 1))
        c = diagonal - r
        inner = (r > 0) & (c > 0)
        prediction = np.empty(len(r), np.int64)
        prediction[r == 0] = source[0, diagonal - 1] if diagonal < cols else 0
        prediction[c == 0] = source[diagonal - 1, 0] if diagonal < rows else 0
        if inner.any():
            ri, ci = r[inner], c[inner]
            a, b, d = source[ri, ci - 1], source[ri - 1, ci], source[ri - 1, ci - 1]
            to_a, to_b = _gap(flat, d, a, metric), _gap(flat, d, b, metric)
            prediction[inner] = np.where((to_a <= tau) & ~(to_b <= tau), b, a)
            next_tau = min(next_tau, _above(to_a, tau), _above(to_b, tau))
        here = own[r, c]
        gap = _gap(flat, here, prediction, metric)
        next_tau = min(next_tau, _above(gap, tau))
        residual[r, c] = gap
        dropped = gap <= tau
        keep[r, c] = ~dropped
        if anchored:
            source[r[dropped], c[dropped]] = prediction[dropped]
    return keep, residual, float(next_tau)


def _first_of_equals(blocks: np.ndarray) -> np.ndarray:
    """For every block the index of the first block of its component of equal neighbours, ``(rows, columns)``."""
    rows, cols, size = blocks.shape
    words = blocks.view(np.uint64) if size % 8 == 0 else blocks
    up, left = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    up[1:] = (words[1:] == words[:-1]).all(-1)
    left[:, 1:] = (words[:, 1:] == words[:, :-1]).all(-1)
    labels = label_components(up, left).reshape(-1)
    _, first = np.unique(labels, return_index=True)
    return first[labels].reshape(rows, cols)


def _gap(flat: np.ndarray, i: np.ndarray, j: np.ndarray, metric: str) -> np.ndarray:
    """Distances of block pairs; pairs that name one block cost nothing."""
    out = np.zeros(len(i))
    differ = i != j
    if differ.any():
        out[differ] = distance(flat[i[differ]], flat[j[differ]], metric)
    return out


def _above(gaps: np.ndarray, tau: float) -> float:
    higher = gaps[gaps > tau]
    return float(higher.min()) if len(higher) else float("inf")


def scan_order(rows: int, cols: int, serpentine: bool) -> np.ndarray:
    """Block indices in raster or boustrophedon order, int64 ``(rows * columns,)``."""
    order = np.arange(rows * cols).reshape(rows, cols)
    if serpentine:
        order[1::2] = order[1::2, ::-1].copy()
    return order.reshape(-1)


def run_scan(blocks: np.ndarray, tau: float, metric: str, *, serpentine: bool = False,
             anchored: bool = True) -> tuple[np.ndarray, np.ndarray, float]:
    """Keep a block unless it is similar to the last KEPT block of the scan (section 3, one-dimensional predictors).

    Not anchored: unless it is similar to the block before it. At tau = 0 equality is transitive and both coincide, so
    one vectorised comparison does. With tolerance, the distances from one anchor are taken for a stretch of blocks at
    a time, and the stretch doubles while the run lasts.

    Returns:
        keep, residual and next_tau as :func:`pred_2d`.
    """
    rows, cols, size = blocks.shape
    order = scan_order(rows, cols, serpentine)
    line = blocks.reshape(-1, size)[order]
    tau = 0.0 if metric == "exact" else tau
    keep = np.ones(len(order), bool)
    residual = np.full(len(order), np.inf)
    if not anchored or tau == 0:
        residual[1:] = distance(line[1:], line[:-1], metric)
        keep[1:] = ~(residual[1:] <= tau)
    else:
        anchor, at, stretch = 0, 1, 4
        while at < len(order):
            end = min(len(order), at + stretch)
            gaps = distance(line[at:end], line[anchor], metric)
            new = np.flatnonzero(~(gaps <= tau))
            stop = at + int(new[0]) if len(new) else end
            keep[at:stop] = False
            residual[at:stop] = gaps[: stop - at]
            if len(new):
                residual[stop] = gaps[new[0]]
                anchor, at, stretch = stop, stop + 1, 4
            else:
                at, stretch = end, min(256, stretch * 2)
    out_keep, out_residual = np.empty_like(keep), np.empty_like(residual)
    out_keep[order], out_residual[order] = keep, residual
    return out_keep.reshape(rows, cols), out_residual.reshape(rows, cols), _above(residual[1:], tau)


def reconstruct(blocks: np.ndarray, keep: np.ndarray, *, predictor: str, tau: float, metric: str) -> np.ndarray:
    """Decode an image from its kept blocks alone (propositions 1 and 2), for the anchored predictors.

    Args:
        blocks: uint8 ``(rows, columns, D)``; omitted entries are never read.
        keep: bool ``(rows, columns)``; predictor: ``pred_2d``, ``raster`` or ``serpentine``; tau, metric: as encoded.

    Returns:
        decoded blocks, uint8 ``(rows, columns, D)``.
    """
    rows, cols, _ = blocks.shape
    out = np.zeros_like(blocks)
    tau = 0.0 if metric == "exact" else tau
    if predictor != "pred_2d":
        last = np.zeros_like(blocks[0, 0])
        for at in scan_order(rows, cols, predictor == "serpentine"):
            r, c = divmod(int(at), cols)
            if keep[r, c]:
                last = blocks[r, c]
            out[r, c] = last
        return out
    for r in range(rows):
        for c in range(cols):
            if keep[r, c]:
                out[r, c] = blocks[r, c]
            elif r == 0:
                out[r, c] = out[r, c - 1]
            elif c == 0:
                out[r, c] = out[r - 1, c]
            else:
                a, b, d = out[r, c - 1], out[r - 1, c], out[r - 1, c - 1]
                above = distance(d, a, metric) <= tau and not distance(d, b, metric) <= tau
                out[r, c] = b if above else a
    return out


def connected_components(image: np.ndarray, block: int, tau: float, metric: str) -> np.ndarray:
    """Components of 4-neighbour blocks within ``tau``, numbered by first appearance in raster order.

    Returns:
        labels: int64 ``(rows, columns)``.
    """
    if tau == 0 or metric == "exact":
        up, left = equal_neighbours(image, block)
    else:
        blocks = to_blocks(image, block)
        up, left = (np.zeros(blocks.shape[:2], bool) for _ in range(2))
        up[1:] = distance(blocks[1:], blocks[:-1], metric) <= tau
        left[:, 1:] = distance(blocks[:, 1:], blocks[:, :-1], metric) <= tau
    return label_components(up, left)


def label_components(up: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Labels of the graph whose edges join a block to its upper (``up``) and left (``left``) neighbour.

    Minimum labels spread along edges, with pointer jumping: a few vectorised rounds instead of a union-find loop.
    """
    rows, cols = up.shape
    ids = np.arange(rows * cols).reshape(rows, cols)
    i = np.concatenate([ids[up], ids[left]])
    j = np.concatenate([(ids - cols)[up], (ids - 1)[left]])
    parent = np.arange(rows * cols)
    while len(i):
        a, b = parent[i], parent[j]
        low, high = np.minimum(a, b), np.maximum(a, b)
        differ = low != high
        if not differ.any():
            break
        np.minimum.at(parent, high[differ], low[differ])
        while True:
            jumped = parent[parent]
            if (jumped == parent).all():
                break
            parent = jumped
    _, labels = np.unique(parent, return_inverse=True)  # a root is its component's first block: raster order
    return labels.reshape(rows, cols)


