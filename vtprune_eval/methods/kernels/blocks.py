"""Similarity of neighbouring pixel blocks.

A block is one merge block: ``block x block`` RGB pixels, one visual token. All functions work on the uint8 image after
the processor's resize; distances are on the [0, 1] scale, i.e. integer differences divided by 255.

Everything here is exact integer or float64 arithmetic on numpy arrays; images are ``(rows * block, columns * block,
3)``, grids ``(rows, columns)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

METRICS = ("max", "mae", "rmse", "exact")


def to_blocks(image: np.ndarray, block: int) -> np.ndarray:
    """Blocks as vectors: uint8 ``(rows, columns, block * block * 3)``, contiguous.

    A block's row of pixels is moved as one element, which spares the loop over its bytes.
    """
    rows, cols = image.shape[0] // block, image.shape[1] // block
    lines = np.ascontiguousarray(image).reshape(rows, block, -1).view(f"V{block * 3}")
    return np.ascontiguousarray(lines.transpose(0, 2, 1)).view(np.uint8).reshape(rows, cols, -1)


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
    apart: np.ndarray
    if metric == "rmse":
        d = x.astype(np.int32) - y
        apart = np.sqrt(np.einsum("...i,...i->...", d, d) / x.shape[-1]) / 255.0
        return apart
    # |x - y| of bytes without widening: the larger minus the smaller.
    d = np.maximum(x, y)
    d -= np.minimum(x, y)
    if metric == "mae":
        apart = d.sum(-1, dtype=np.uint32) / (255.0 * x.shape[-1])
    else:
        apart = d.max(-1) / 255.0
    return apart


def pair_distances(flat: np.ndarray, i: np.ndarray, j: np.ndarray, metric: str) -> np.ndarray:
    """Distances of the block pairs (i, j) out of ``flat`` (n, D), float64 in the shape of ``i``.

    A pair that names one block twice costs nothing. The others are taken 64 at a time, so that the intermediate
    bytes stay in the cache (three times faster than all at once).
    """
    out = np.zeros(i.shape)
    differ = np.flatnonzero(i != j)
    i, j = i.reshape(-1)[differ], j.reshape(-1)[differ]
    gaps = np.empty(len(differ))
    for at in range(0, len(differ), 64):
        part = slice(at, at + 64)
        gaps[part] = distance(flat[i[part]], flat[j[part]], metric)
    out.reshape(-1)[differ] = gaps
    return out


@dataclass(frozen=True)
class Neighbours:
    """What the scans need of one image, whatever the tolerance; measured once, reused by a search over tau.

    Attributes:
        flat: blocks as vectors, uint8 ``(rows * columns, D)``.
        metric: one of :data:`METRICS`.
        own: index of the first block of each block's component of equal neighbours (of each run of them in its row, for
            scans along rows), ``(rows, columns)``: two blocks with one index are equal without looking.
    """

    flat: np.ndarray
    metric: str
    own: np.ndarray

    @classmethod
    def of(cls, blocks: np.ndarray, metric: str, *, along_rows: bool = False) -> Neighbours:
        """Take uint8 ``(rows, columns, D)``; distances are measured when they are first asked for.

        Args:
            blocks: as vectors.
            metric: one of :data:`METRICS`.
            along_rows: for a scan that compares with blocks of the same row, but where it enters a row.
        """
        rows, cols, size = blocks.shape
        own = _first_of_run(blocks) if along_rows else _first_of_equals(blocks)
        return cls(blocks.reshape(rows * cols, size), metric, own)

    @cached_property
    def up(self) -> np.ndarray:
        """Distance to the upper neighbour, float64 ``(rows, columns)``; inf in the first row. A scan along rows does
        not need it."""
        gaps = np.full(self.own.shape, np.inf)
        gaps[1:] = self.between(self.own[1:], self.own[:-1])
        return gaps

    @cached_property
    def left(self) -> np.ndarray:
        """Distance to the left neighbour, float64 ``(rows, columns)``; inf in the first column."""
        gaps = np.full(self.own.shape, np.inf)
        gaps[:, 1:] = self.between(self.own[:, 1:], self.own[:, :-1])
        return gaps

    def between(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Distances of the block pairs (i, j), float64 in the shape of ``i``."""
        return pair_distances(self.flat, i, j, self.metric)


def _first_of_equals(blocks: np.ndarray) -> np.ndarray:
    """For every block the index of the first block of its component of equal neighbours, ``(rows, columns)``."""
    rows, cols, size = blocks.shape
    words = blocks.view(np.uint64) if size % 8 == 0 else blocks
    up, left = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    up[1:] = (words[1:] == words[:-1]).all(-1)
    left[:, 1:] = (words[:, 1:] == words[:, :-1]).all(-1)
    return _roots(up, left).reshape(rows, cols)


def _first_of_run(blocks: np.ndarray) -> np.ndarray:
    """For every block the index of the first of the equal blocks that end with it in its row, ``(rows, columns)``."""
    rows, cols, size = blocks.shape
    words = blocks.view(np.uint64) if size % 8 == 0 else blocks
    first = np.arange(rows * cols).reshape(rows, cols)
    first[:, 1:][(words[:, 1:] == words[:, :-1]).all(-1)] = 0
    return np.maximum.accumulate(first.reshape(-1)).reshape(rows, cols)


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
    """Labels, by first appearance, of the graph whose edges join a block to its upper and left neighbour."""
    _, labels = np.unique(_roots(up, left), return_inverse=True)
    return labels.reshape(up.shape)


def _roots(up: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Index of the first block of each block's component, ``(rows * columns,)``.

    Minimum indices spread along edges, with pointer jumping: a few vectorised rounds instead of a union-find loop.
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
    return parent
