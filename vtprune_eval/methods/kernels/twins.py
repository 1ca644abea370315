"""Equal rows: products of equal rows may differ by rounding, which must not decide a tie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def first_equal_row(x: Tensor) -> Tensor | None:
    """Index of the first row that equals each row, int64 ``(n,)``; None where all rows differ.

    Args:
        x: ``(n, dim)``, float. Rows are compared bit by bit, those with equal weighted sums alone.
    """
    n, dim = x.shape
    # Irrational steps: no two entries share a weight, so that permuted rows have other sums.
    weights = torch.arange(1, dim + 1, device=x.device, dtype=x.dtype).mul_(0.6180339887).frac_().add_(0.5)
    sums, order = torch.sort((x * weights).sum(-1), stable=True)
    new = torch.ones(n, dtype=torch.bool, device=x.device)
    new[1:] = sums[1:] != sums[:-1]
    if bool(new.all()):
        return None
    own = torch.arange(n, device=x.device)
    first = own.clone()
    first[order] = order[new][new.cumsum(0) - 1]  # a stable order begins every group with its lowest index
    return torch.where((x == x[first]).all(-1), first, own)
