"""PixelPrune's algorithms transcribed literally from the paper, in float32: the reference that speed is measured by."""

from __future__ import annotations

import numpy as np


def float_blocks(image: np.ndarray, block: int = 32) -> np.ndarray:
    """Normalise to [-1, 1] as the processor does, undo it, and cut into float32 block vectors."""
    normalised = (image.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    restored = normalised * np.float32(0.5) + np.float32(0.5)
    rows, cols = image.shape[0] // block, image.shape[1] // block
    view = restored.reshape(rows, block, cols, block, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(view).reshape(rows, cols, -1)


def pred_2d_tau0(image: np.ndarray) -> np.ndarray:
    """Three shifted comparisons of the float32 grid, four equality maps, no shared work."""
    x = float_blocks(image)

    def same(a, b):
        return np.abs(a - b).max(-1) <= 0

    rows, cols = x.shape[:2]
    keep = np.ones((rows, cols), bool)
    if cols > 1:
        keep[0, 1:] = ~same(x[0, 1:], x[0, :-1])
    if rows > 1:
        keep[1:, 0] = ~same(x[1:, 0], x[:-1, 0])
    if rows > 1 and cols > 1:
        a, b, c, here = x[1:, :-1], x[:-1, 1:], x[:-1, :-1], x[1:, 1:]
        above = same(c, a) & ~same(c, b)
        keep[1:, 1:] = ~np.where(above, same(here, b), same(here, a))
    return keep


def scan(x: np.ndarray, tau: float, metric: str, predictor: str, anchored: bool = True) -> np.ndarray:
    """The sequential loop over blocks with a reconstruction grid; ``x`` holds values in [0, 1]."""

    def far(a, b):
        d = a - b
        value = {
            "max": lambda: np.abs(d).max(),
            "exact": lambda: np.abs(d).max(),
            "mae": lambda: np.abs(d).mean(),
            "rmse": lambda: np.sqrt((d * d).mean()),
        }[metric]()
        return not value <= (0 if metric == "exact" else tau)

    rows, cols = x.shape[:2]
    keep = np.zeros((rows, cols), bool)
    seen = x.copy()
    anchor = None
    for r in range(rows):
        order = range(cols) if predictor != "serpentine" or r % 2 == 0 else range(cols - 1, -1, -1)
        for c in order:
            if predictor != "pred_2d":
                keep[r, c] = anchor is None or far(x[r, c], anchor)
                if keep[r, c] or not anchored:
                    anchor = x[r, c]
                continue
            if r == 0 and c == 0:
                keep[r, c] = True
                continue
            if r == 0:
                guess = seen[r, c - 1]
            elif c == 0:
                guess = seen[r - 1, c]
            else:
                a, b, d = seen[r, c - 1], seen[r - 1, c], seen[r - 1, c - 1]
                guess = b if not far(d, a) and far(d, b) else a
            keep[r, c] = far(x[r, c], guess)
            if anchored and not keep[r, c]:
                seen[r, c] = guess
    return keep


def pred_2d_torch(x, tau: float, metric: str) -> np.ndarray:
    """The same loop in the form of the published code: one torch step and up to three host reads per block.

    Args:
        x: float32 tensor ``(rows, columns, D)`` in [0, 1]; tau, metric: as :func:`scan`.
    """

    def near(a, b) -> bool:
        d = (a - b).abs()
        return bool((d.max() if metric == "max" else d.mean()) <= tau)

    rows, cols = x.shape[:2]
    keep = np.zeros((rows, cols), bool)
    seen = x.clone()
    for r in range(rows):
        for c in range(cols):
            if r == 0 and c == 0:
                keep[r, c] = True
                continue
            if r == 0:
                guess = seen[r, c - 1]
            elif c == 0:
                guess = seen[r - 1, c]
            else:
                a, b, d = seen[r, c - 1], seen[r - 1, c], seen[r - 1, c - 1]
                guess = b if near(d, a) and not near(d, b) else a
            keep[r, c] = not near(x[r, c], guess)
            if not keep[r, c]:
                seen[r, c] = guess
    return keep


def guikv_scores(view, capacity, window, *, alpha, temperature, rank, grouped):
    """Steps 1 to 3 of GUI-KV as its specification lists them: a loop over heads, a full QR, one image at a time."""
    import torch

    n = len(view.index)
    past = n - window
    group = view.queries.shape[0] // view.keys.shape[0]
    spans = [view.rows_of(i) for i in range(len(view.layout.spans))]
    attention = []
    for h in range(view.queries.shape[0]):
        q, k = view.queries[h, -window:].double(), view.keys[h // group].double()
        scores = q @ k.T / q.shape[1] ** 0.5
        for i in range(window):
            scores[i, n - window + i + 1 :] = float("-inf")
        attention.append(scores.softmax(-1).sum(0)[:past])
    if grouped:
        attention = [sum(attention[g * group : (g + 1) * group]) / group for g in range(view.keys.shape[0])]
    out = []
    for h, a in enumerate(attention):
        padded = torch.cat([a.new_zeros(2), a, a.new_zeros(2)])
        a = torch.stack([padded[j : j + 5].sum() / 5 for j in range(past)])
        norms = torch.stack([view.hidden_normed[j].double().norm() for j in spans[-1]])
        z = (norms - norms.mean()) / (norms.std() + 1e-8)
        bonus = (z / temperature).softmax(0)
        for j, u in zip(spans[-1].tolist(), bonus, strict=True):
            if j < past:
                a[j] += alpha * u
        if len(spans) > 1:
            k = view.keys[h if grouped else h // group].double()
            basis = torch.linalg.qr(k[spans[-1]].T).Q[:, :rank]
            residual = {}
            for rows in spans[:-1]:
                for j in rows.tolist():
                    residual[j] = float((k[j] - basis @ (basis.T @ k[j])).norm())
            n_zero = int((1 - capacity / n) * len(residual))
            for j in sorted(residual, key=residual.get)[:n_zero]:
                a[j] = 0
        out.append(a)
    return torch.stack(out).float()
