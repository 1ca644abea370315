"""From scores to what stays: the only places where a count meets a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def kept_by_score(scores: Tensor, n_keep: int) -> Tensor:
    """Mask of the ``n_keep`` highest scores; ties go to the earlier entry, NaN counts as the lowest.

    Args:
        scores: float ``(n,)``.
        n_keep: entries to keep; at least 1, capped at ``n``.

    Returns:
        bool ``(n,)`` with exactly ``min(n, max(1, n_keep))`` True entries.
    """
    n = scores.shape[0]
    keep = torch.zeros(n, dtype=torch.bool, device=scores.device)
    if n:
        clean = torch.nan_to_num(scores.float(), nan=float("-inf"))
        order = torch.sort(clean, descending=True, stable=True).indices
        keep[order[: min(n, max(1, n_keep))]] = True
    return keep


def best(scores: Tensor, k: int, *, ties: str = "early") -> Tensor:
    """Indices of the ``k`` largest scores per row, sorted by position.

    Args:
        scores: ``(heads, n)``.
        k: at most ``n``.
        ties: which of equal scores wins: ``early`` or ``late`` positions.

    Returns:
        int64 ``(heads, k)``.
    """
    if k < 1:
        return torch.empty(scores.shape[0], 0, dtype=torch.long, device=scores.device)
    # A partial selection finds the cut; what lies above it is in, and ties at the cut are taken from one end.
    cut = torch.topk(scores, k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    above, tied = scores > cut, scores == cut
    room = k - above.sum(-1, keepdim=True)
    rank = tied.cumsum(-1) if ties == "early" else tied.sum(-1, keepdim=True) - tied.cumsum(-1) + 1
    return true_places(above | (tied & (rank <= room)), k)


def true_places(mask: Tensor, k: int) -> Tensor:
    """Where a mask is True, for rows that have ``k`` True entries each; without asking the device how many there are.

    Args:
        mask: bool ``(rows, n)``.
        k: True entries of every row.

    Returns:
        sorted int64 ``(rows, k)``.
    """
    to = torch.where(mask, mask.cumsum(-1) - 1, k)
    out = torch.empty(mask.shape[0], k + 1, dtype=torch.long, device=mask.device)
    return out.scatter_(1, to, torch.arange(mask.shape[1], device=mask.device).expand_as(to))[:, :k]


def everything(n: int, heads: int, device: torch.device) -> Tensor:
    """All of ``n`` entries for every head, int64 ``(heads, n)``."""
    return torch.arange(n, device=device).expand(heads, -1)


def with_window(past: Tensor, n: int, window: int) -> Tensor:
    """Append the last ``window`` of ``n`` positions to every row of ``past``."""
    last = torch.arange(n - window, n, device=past.device).expand(past.shape[0], -1)
    return torch.cat([past, last], 1)


def best_and_window(scores: Tensor, size: int, n: int, window: int) -> Tensor:
    """The last ``window`` of ``n`` entries and, per head, the best of the others up to ``size``; later ones on ties.

    Args:
        scores: ``(heads, n)``, or without the window's columns.
        size: entries per head, the window included.
        n: entries.
        window: at most ``size``.

    Returns:
        sorted int64 ``(heads, size)``.
    """
    return with_window(best(scores[:, : n - window], size - window, ties="late"), n, window)


def ragged(scores: Tensor, always: Tensor, n_always: int, sizes: Sequence[int]) -> Tensor:
    """Per head everything in ``always`` and the best of the others, as many as its size; later ones on ties.

    Args:
        scores: ``(heads, n)``.
        always: bool ``(n,)``.
        n_always: how many those are.
        sizes: entries per head beside those.

    Returns:
        sorted int64 ``(heads, n_always + max(sizes))``, heads of fewer entries padded with -1 in front.
    """
    width = max(sizes)
    ranked = scores.float().masked_fill(always, float("inf"))
    kept = torch.full((len(scores), n_always + width), -1, device=scores.device)
    for h, size in enumerate(sizes):
        kept[h, width - size :] = best(ranked[h : h + 1], n_always + size, ties="late")[0]
    return kept


def padded(keep: Tensor) -> Tensor:
    """A mask ``(heads, n)`` as sorted entries per head, int64 ``(heads, longest)``, shorter heads with -1 in front."""
    counts = keep.sum(1)
    longest = int(counts.max())
    order = torch.arange(keep.shape[1], device=keep.device).expand_as(keep).masked_fill(~keep, -1)
    return order.sort(1).values[:, keep.shape[1] - longest :]


def best_and_text(scores: Tensor, size: int, visual: Tensor, window: int) -> Tensor:
    """All text entries, then those of the window, then per head the best of the others, up to ``size``.

    Args:
        scores: ``(heads, n)``, or without the window's columns.
        size: entries per head, at least those of text.
        visual: which entries are of visual tokens, bool ``(n,)``.
        window: last entries that stay; where they are more than the budget, the latest of them.

    Returns:
        sorted int64 ``(heads, size)``.
    """
    n, top = len(visual), torch.finfo(torch.float32).max
    past = scores[:, : n - window].float()
    ranked = torch.full((len(scores), n), top, device=scores.device)
    ranked[:, : n - window] = torch.nan_to_num(past, nan=-top).clamp(-top / 2, top / 2)
    ranked = torch.where(visual, ranked, float("inf"))
    return best(ranked, min(n, size), ties="late")
