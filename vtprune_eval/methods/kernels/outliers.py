"""PruMerge and PruMerge+: how many tokens stand out, which are added, and what is merged into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .merging import neighbours_added
from .pivots import falling

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


def n_outliers(scores: Tensor) -> int:
    """Number of scores above Q3 + 1.5 (Q3 - Q1), with linearly interpolated quartiles."""
    low, high = torch.quantile(scores.float(), torch.tensor([0.25, 0.75], device=scores.device))
    return int((scores > high + 1.5 * (high - low)).sum())


def n_kept(scores: Tensor) -> int:
    """Count of the released code, ``int(N (outliers / N))``, which by rounding can be one less."""
    n = len(scores)
    return int(n * (n_outliers(scores) / n))


def plus_order(scores: Tensor, top: int) -> Tensor:
    """The ``top`` best, then evenly spaced tokens that are not among them (PruMerge+), in that order, int64.

    The step is a third of ``int(N / outliers)``, at least 1 (the released code divides by zero without an outlier and
    has a step of 0 beyond a third); as there, the last token is never sampled.
    """
    n, order = len(scores), falling(scores)[:top]
    step = max(1, int(int(n / max(1, n_outliers(scores))) / 3))
    even = torch.arange(0, n - 1, step, device=scores.device)
    return torch.cat([order, even[~torch.isin(even, order)]])


def merge_all(x: Tensor, keys: Tensor, weights: Tensor, order: Tensor, neighbours: int = 32) -> Tensor:
    """Kept rows with their neighbours added, and one more row: the weighted sum of everything that is not kept.

    Returns:
        float32 ``(len(order) + 1, dim)``.
    """
    rows = neighbours_added(x, keys, weights, order, neighbours)
    rest = torch.ones(len(x), dtype=torch.bool, device=x.device)
    rest[order] = False
    extra = (weights[rest][:, None].to(rows.dtype) * x[rest].to(rows.dtype)).sum(0, keepdim=True)
    return torch.cat([rows, extra])
