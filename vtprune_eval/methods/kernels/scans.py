"""The predictive scans of PixelPrune over a grid of blocks, and their decoder (arXiv 2604.00886, section 3)."""

from __future__ import annotations

import numpy as np

from .blocks import Neighbours, distance, equal_neighbours, pair_distances

_FEW = 64  # blocks that are re-decided at once rather than by anti-diagonals; measured, flat from 8 to 128


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


def scan_exact(image: np.ndarray, block: int, *, serpentine: bool = False) -> np.ndarray:
    """:func:`run_scan` at tau = 0, from the equality maps: a block is dropped when it equals the one before it."""
    up, left = equal_neighbours(image, block)
    keep = ~left
    if serpentine:
        keep[1::2, :-1] = ~left[1::2, 1:]  # these rows run right to left
        keep[1::2, -1] = ~up[1::2, -1]
        keep[2::2, 0] = ~up[2::2, 0]
    else:
        rows, cols = up.shape
        cells = image.reshape(rows, block, cols, block, 3)
        keep[1:, 0] = (cells[1:, :, 0] != cells[:-1, :, -1]).any((1, 2, 3))
    return keep


class Pred2d:
    """Equation 2 with tolerance, anchored; can be moved from one tau to the next.

    Where nothing is dropped with an error, the neighbours' reconstructions are their own pixels, so the two distance
    maps to the original neighbours decide the whole grid at once (the maps "above-left to left" and "above-left to
    above" are the same two, shifted). Anchoring then re-decides only the blocks next to a reconstruction that
    changed, until nothing changes. A block depends on its left, upper and upper-left neighbours only, so the state
    without a block left to re-decide is unique: it is that of the sequential loop, whatever the order or the start.

    Attributes:
        near: the image.
        residual: distance of every block to its prediction, float64 ``(rows * columns,)``, inf at (0, 0).
    """

    def __init__(self, near: Neighbours) -> None:
        rows, cols = near.up.shape
        self.near, self.shape = near, (rows, cols)
        to_a, to_b = np.full((rows, cols), np.inf), np.full((rows, cols), np.inf)  # from C; inf on the border
        to_a[1:, 1:] = near.up[1:, :-1]
        to_b[1:, 1:] = near.left[:-1, 1:]
        self._to_a, self._to_b = to_a.reshape(-1), to_b.reshape(-1)
        index = np.arange(rows * cols)
        self._first_column = index % cols == 0
        self._inner = ~self._first_column & (index >= cols)
        self._own = near.own.reshape(-1)
        self._source = self._own.copy()  # where the pixels of a block's reconstruction are
        above = self._from_above(0.0)
        self.residual = np.where(above, near.up.reshape(-1), near.left.reshape(-1))
        self._state = above, self.residual <= 0

    def _from_above(self, tau: float) -> np.ndarray:
        same: np.ndarray = (self._to_a <= tau) & ~(self._to_b <= tau) | self._first_column
        return same

    def keep(self, tau: float) -> tuple[np.ndarray, float]:
        """Keep mask at ``tau``, bool ``(rows, columns)``, and the smallest distance above ``tau`` that was met.

        At every tau below that distance the mask is the same.
        """
        rows, cols = self.shape
        above, dropped = self._state
        stale = np.zeros((rows + 1, cols + 1), bool)  # blocks to re-decide; the border spares bounds checks
        wrong = (self._from_above(tau) != above) | ((self.residual <= tau) != dropped)
        stale[:rows, :cols] = wrong.reshape(rows, cols)
        flat = stale.reshape(-1)
        while len(cells := np.flatnonzero(stale[:rows, :cols])):
            if len(cells) > _FEW:
                # Many: what is decided before its neighbours are final is often decided again, so go by anti-diagonals
                # from the upper left. The blocks of one are independent, and final once it is passed.
                for d in range(1, rows + cols - 1):
                    top = max(0, d - cols + 1)
                    r = top + np.flatnonzero(flat[d + top * cols : d + min(rows - 1, d) * cols + 1 : cols])
                    if len(r):
                        self._decide(d + r * (cols - 1), flat, tau)
                break
            self._decide(cells, flat, tau)
        self._state = self._from_above(tau), self.residual <= tau
        next_tau = min(_above(v, tau) for v in (self._to_a, self._to_b, self.residual))
        return ~self._state[1].reshape(rows, cols), next_tau

    def _decide(self, cells: np.ndarray, stale: np.ndarray, tau: float) -> None:
        """Decide ``cells`` from the present sources of their neighbours; where a source changes, those that see it."""
        flat, metric, cols, source = self.near.flat, self.near.metric, self.shape[1], self._source
        at = cells[self._inner[cells]]
        pairs = np.empty((2, 2, len(at)), np.int64)
        pairs[0] = source[at - cols - 1]
        pairs[1, 0], pairs[1, 1] = source[at - 1], source[at - cols]
        self._to_a[at], self._to_b[at] = pair_distances(flat, pairs[0], pairs[1], metric)
        above = (self._to_a[cells] <= tau) & ~(self._to_b[cells] <= tau) | self._first_column[cells]
        prediction, own = source[cells - np.where(above, cols, 1)], self._own[cells]
        gap = self.residual[cells] = pair_distances(flat, own, prediction, metric)
        new = np.where(gap <= tau, prediction, own)
        changed = cells[new != source[cells]]
        source[cells] = new
        stale[cells + cells // cols] = False  # its rows are one longer
        here = changed + changed // cols
        stale[here + 1] = stale[here + cols + 1] = stale[here + cols + 2] = True


def pred_2d(near: Neighbours, tau: float, anchored: bool = True) -> tuple[np.ndarray, np.ndarray, float]:
    """Equation 2 with tolerance.

    Args:
        near: the image.
        tau: tolerance on the [0, 1] scale; 0 for metric ``exact`` whatever is given.
        anchored: compare with reconstructed neighbours (proposition 2 holds); False compares with the originals.

    Returns:
        keep: bool ``(rows, columns)``; residual: distance of every block to its prediction, float64, inf at (0, 0);
        next_tau: smallest distance above ``tau`` that was met; at every tau below it the result is the same.
    """
    tau = 0.0 if near.metric == "exact" else tau
    scan = Pred2d(near)
    if anchored:
        keep, next_tau = scan.keep(tau)
        return keep, scan.residual.reshape(keep.shape), next_tau
    to_a, to_b = scan._to_a, scan._to_b
    residual = np.where(scan._from_above(tau), near.up.reshape(-1), near.left.reshape(-1)).reshape(near.up.shape)
    return ~(residual <= tau), residual, min(_above(v, tau) for v in (to_a, to_b, residual))


def scan_order(rows: int, cols: int, serpentine: bool) -> np.ndarray:
    """Block indices in raster or boustrophedon order, int64 ``(rows * columns,)``."""
    order = np.arange(rows * cols).reshape(rows, cols)
    if serpentine:
        order[1::2] = order[1::2, ::-1].copy()
    return order.reshape(-1)


def scan_line(near: Neighbours, serpentine: bool) -> tuple[np.ndarray, np.ndarray]:
    """Block indices along the scan and each one's distance to the block before it (inf for the first)."""
    rows, cols = near.own.shape
    order, before = scan_order(rows, cols, serpentine), np.full(rows * cols, np.inf)
    gaps = before.reshape(rows, cols)
    gaps[:, 1:] = near.left[:, 1:]
    own = near.own
    if serpentine:
        gaps[1::2, 1:] = near.left[1::2, :0:-1]
        turn = np.where(np.arange(1, rows) % 2, cols - 1, 0)  # the column in which a row is entered
        gaps[1:, 0] = near.between(own[np.arange(1, rows), turn], own[np.arange(rows - 1), turn])
    else:
        gaps[1:, 0] = near.between(own[1:, 0], own[:-1, -1])
    return order, before


def run_scan(
    near: Neighbours, tau: float, *, serpentine: bool = False, anchored: bool = True
) -> tuple[np.ndarray, np.ndarray, float]:
    """Keep a block unless it is similar to the last KEPT block of the scan (section 3, one-dimensional predictors).

    Not anchored: unless it is similar to the block before it. As long as every block is kept, the last kept block is
    the block before, whose distance is known; so the scan jumps to the next similar pair, and only there measures the
    run that follows, a stretch of blocks at a time. A block equal to the one before it shares that one's fate.

    Returns:
        keep, residual and next_tau as :func:`pred_2d`.
    """
    tau = 0.0 if near.metric == "exact" else tau
    order, residual = scan_line(near, serpentine)
    if anchored and tau > 0:
        head = np.flatnonzero(residual > 0)  # blocks that differ from the one before; others repeat it
        gaps = residual[head]
        own = near.own.reshape(-1)[order][head]
        starts = np.flatnonzero(gaps <= tau).tolist()
        done = 0
        for start in starts:
            if start < done:
                continue
            anchor, done, stretch = own[start - 1], start + 1, 8
            while done < len(head):
                ahead = own[done : done + stretch]
                run = near.between(ahead, np.full(len(ahead), anchor))
                over = np.flatnonzero(run > tau)
                n = int(over[0]) + 1 if len(over) else len(run)
                gaps[done : done + n] = run[:n]
                done += n
                if len(over):
                    break  # a new anchor: the known distances hold again after it
                stretch = min(64, stretch * 2)
        # A repeat lies at 0 from a kept head, and as far as its head from the anchor otherwise.
        reach = np.where(gaps <= tau, gaps, 0.0)
        residual = np.repeat(reach, np.diff(np.append(head, len(order))))
        residual[head] = gaps
    out = np.empty_like(residual)
    out[order] = residual
    out = out.reshape(near.own.shape)
    return ~(out <= tau), out, _above(out, tau)


def reconstruct(blocks: np.ndarray, keep: np.ndarray, *, predictor: str, tau: float, metric: str) -> np.ndarray:
    """Decode an image from its kept blocks alone (propositions 1 and 2), for the anchored predictors.

    Args:
        blocks: uint8 ``(rows, columns, D)``; omitted entries are never read.
        keep: bool ``(rows, columns)``.
        predictor: ``pred_2d``, ``raster`` or ``serpentine``.
        tau: as encoded.
        metric: as encoded.

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


def _above(gaps: np.ndarray, tau: float) -> float:
    return float(np.min(gaps, where=gaps > tau, initial=np.inf))
