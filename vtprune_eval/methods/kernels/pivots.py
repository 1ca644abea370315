"""Selection by pivots, anchors and windows: the rules of DART, HiPrune, VScan and ShowUI on plain tensors."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from .diversity import unit_rows
from .topk import best

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


def falling(scores: Tensor) -> Tensor:
    """Indices by falling score, the lower one first on ties."""
    return torch.sort(scores, descending=True, stable=True).indices


def least_similar(states: Tensor, pivots: Tensor | Sequence[int], candidates: Tensor, shares: Sequence[int]) -> Tensor:
    """Per pivot in turn its share of the candidates least similar to it (DART), int64, in the order of choice.

    Args:
        states: ``(n, dim)``, compared by cosine.
        pivots: rows, int64, in the order of visiting.
        candidates: sorted rows; what one pivot takes the next does not see.
        shares: one number per pivot.
    """
    unit, taken = unit_rows(states), []
    asked = unit.index_select(0, torch.as_tensor(pivots, dtype=torch.long, device=unit.device))
    for pivot, share in zip(asked, shares, strict=True):
        order = torch.sort(unit[candidates] @ pivot, stable=True).indices
        taken.append(candidates[order[:share]])
        candidates = candidates[order[share:].sort().values]
    return torch.cat([candidates[:0], *taken])


def largest_norms(norms: Tensor, image: Tensor, text: Tensor, n_image: int, n_text: int) -> tuple[Tensor, Tensor]:
    """Image and text pivots: the rows of largest norm among ``image`` and ``text``, by falling norm."""
    return image[falling(norms[image])[:n_image]], text[falling(norms[text])[:n_text]]


def dart_share(n: int, dropped: float | Fraction, pivots: int = 8) -> int:
    """Tokens per pivot: ``int(n (1 - dropped) / pivots)``, exact for a fraction, as the released code for a float."""
    return int(n * (1 - dropped) / pivots)


def wrapped_neighbours(anchors: Tensor, n: int, width: int) -> Tensor:
    """Anchors and their four neighbours by index, which wrap at row ends and stop at 0 and n - 1 (HiPrune's code)."""
    around = [anchors + step for step in (-1, 1, -width, width)]
    distinct: Tensor = torch.cat([anchors, *around]).clamp(0, n - 1).unique()
    return distinct


def anchors_and_registers(middle: Tensor, last: Tensor, k: int, with_neighbours: Tensor) -> Tensor:
    """Mask of ``k`` tokens: anchors and neighbours, then the best of the last layer (HiPrune), bool ``(n,)``.

    Args:
        middle: attention received at the object and the last layer, ``(n,)``.
        last: attention received at the object and the last layer, ``(n,)``.
        k: at most ``n``.
        with_neighbours: anchors and neighbours, bool ``(n,)``. Where they exceed ``k`` the best of them by the object
            layer stay.
    """
    keep = with_neighbours.clone()
    chosen = keep.nonzero()[:, 0]
    if len(chosen) > k:
        keep[:] = False
        keep[chosen[best(middle[chosen][None], k)[0]]] = True
        return keep
    rest = (~keep).nonzero()[:, 0]
    keep[rest[best(last[rest][None], k - len(chosen))[0]]] = True
    return keep


def n_anchors(k: int, alpha: float) -> int:
    """Anchors among ``k`` tokens: ``round(k alpha / 5)``, half to even; none for 25 tokens and fewer at 0.1."""
    return round(k * alpha / 5)


def window_of_token(rows: int, cols: int, side: int) -> tuple[Tensor, int]:
    """Window number of every token of a grid, int64 ``(rows * cols,)``, and how many there are.

    ``floor(rows / side)`` by ``floor(cols / side)`` windows (at least one each way); what is left over belongs to the
    last.
    """
    high, wide = max(1, rows // side), max(1, cols // side)
    r = (torch.arange(rows) // side).clamp(max=high - 1)
    c = (torch.arange(cols) // side).clamp(max=wide - 1)
    return (r[:, None] * wide + c[None]).reshape(-1), high * wide


def best_per_window(scores: Tensor, window: Tensor, n_windows: int, n: int) -> Tensor:
    """``n`` tokens by falling score, of every window at most ``ceil(n / n_windows)`` (VScan, Qwen form), sorted."""
    limit = -(-n // n_windows)
    order = falling(scores)
    rank = rank_in_group(window.to(order.device)[order])
    return order[rank < limit][:n].sort().values


def rank_in_group(group: Tensor) -> Tensor:
    """How many earlier entries of ``group`` ``(n,)`` have the same value, int64 ``(n,)``."""
    by_group = torch.sort(group, stable=True).indices
    sizes = torch.bincount(group)
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    rank = torch.empty_like(group)
    rank[by_group] = torch.arange(len(group), device=group.device) - starts
    return rank


def evenly_spaced(n: int, k: int) -> Tensor:
    """``k`` places among ``n``: round(i (n - 1) / (k - 1)), half to even; the first for ``k`` = 1."""
    if k >= n:
        return torch.arange(n)
    if k <= 1:
        return torch.arange(k)
    return torch.tensor([round(i * (n - 1) / (k - 1)) for i in range(k)])


def component_quota(size: int, skip: float) -> int:
    """How many of a component's ``size`` members :func:`evenly_in_components` keeps."""
    return size if size < 2 else max(1, size - round(size * skip))


def evenly_in_components(labels: Tensor, skip: float) -> Tensor:
    """Mask that thins every component out evenly (ShowUI at evaluation), bool ``(n,)``.

    Of ``m > 1`` members the places ``int(i (m - 1) / (k - 1))`` stay, ``k = max(1, m - round(m skip))``; single members
    stay.
    """
    sizes = torch.bincount(labels)
    quota = torch.tensor([component_quota(m, skip) for m in sizes.tolist()], device=labels.device)
    rank = rank_in_group(labels)
    keep = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
    for m, k in {pair for pair in zip(sizes.tolist(), quota.tolist(), strict=True) if pair[0]}:
        places = [0] if k == 1 else [i * (m - 1) // (k - 1) for i in range(k)]
        chosen = torch.zeros(m, dtype=torch.bool, device=labels.device)
        chosen[places] = True
        members = (sizes[labels] == m) & (quota[labels] == k)
        keep[members] = chosen[rank[members]]
    return keep
