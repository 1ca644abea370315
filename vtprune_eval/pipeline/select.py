"""Scores to masks: the one place where a budget meets a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
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
