"""HoloV's crops: what each weighs, and how many tokens each keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .diversity import unit_rows

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


def crop_weights(x: Tensor, attention: Tensor, crops: Sequence[Tensor], beta: float) -> Tensor:
    """Weight of every crop, adding up to 1, ``(n_crops,)``.

    A token's score is its attention plus ``beta`` times the variance of its cosines to the crop's others, scaled to the
    mean of the crop's attention; a crop weighs the mean of its tokens, a crop of one token its attention.

    Args:
        x: ``(n, dim)``.
        attention: received, ``(n,)``.
        crops: rows of each.
    """
    scores = []
    for rows in crops:
        own = attention[rows]
        if len(rows) < 2:
            scores.append(own.mean())
            continue
        unit = unit_rows(x[rows])
        similar = (unit @ unit.T).fill_diagonal_(0)
        mean = similar.sum(1) / (len(rows) - 1)
        # As released: the zero on the diagonal is among the squared differences.
        spread = (similar - mean[:, None]).square().sum(1) / (len(rows) - 1)
        scale = own.abs().mean() / (spread.abs().mean() + 1e-6)
        scores.append((own + beta * scale * spread).mean())
    weights = torch.stack(scores)
    return weights / (weights.sum() + 1e-6)


def shares_of_crops(weights: Tensor, sizes: Sequence[int], n: int) -> list[int]:
    """Tokens that every crop keeps: ``floor(weight n)``, then one more for the crops of largest weight.

    Args:
        weights: adding up to 1.
        sizes: tokens of the crops.
        n: at most their sum, which the shares add up to.
    """
    out = [min(size, int(w * n)) for w, size in zip(weights.tolist(), sizes, strict=True)]
    order = torch.sort(weights, descending=True, stable=True).indices.tolist()
    left = n - sum(out)
    while left > 0:
        for i in order:
            if left > 0 and out[i] < sizes[i]:
                out[i] += 1
                left -= 1
    return out
