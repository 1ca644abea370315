"""Attention statistics without attention maps: what the cache methods and the in-decoder methods score by.

Nothing here holds more than a block of rows of an attention map. All sums are float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Rows of attention (queries x heads of one kv group) that are held at once.
BLOCK_ROWS = 1024


def _scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Scaled, causally masked scores of the LAST ``m`` queries, ``(n_kv_heads, group, m, n)`` float32."""
    n_q, m, dim = queries.shape
    n_kv, n, _ = keys.shape
    grouped = queries.float().reshape(n_kv, (n_q // n_kv) * m, dim)
    scores = (grouped @ keys.float().transpose(1, 2)).mul_(dim**-0.5).view(n_kv, n_q // n_kv, m, n)
    future = torch.ones(m, m, dtype=torch.bool, device=keys.device).triu(1)
    scores[..., n - m :].masked_fill_(future, float("-inf"))
    return scores


def window_attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention that each entry receives from the last queries, summed over them, per query head.

    Args:
        queries: the last ``w`` rotated queries, ``(n_q_heads, w, head_dim)``.
        keys: all rotated keys, ``(n_kv_heads, n, head_dim)``; query head h uses kv head ``h // (n_q / n_kv)``.

    Returns:
        float32 ``(n_q_heads, n)``; the softmax runs over all ``n`` keys, causal inside the window.
    """
    scores = _scores(queries, keys)
    # A softmax in place, summed over the window as one product: no second array of its size.
    weights = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    shares = weights.sum(-1).reciprocal_()[..., None, :]
    return (shares @ weights).squeeze(-2).flatten(0, 1)


def received_attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention that each entry receives from ALL ``m`` last queries, summed, in blocks of rows.

    The result equals :func:`window_attention`; memory is bounded by ``BLOCK_ROWS`` rows per kv head.
    """
    n_q, m, _ = queries.shape
    n_kv, n, _ = keys.shape
    group = n_q // n_kv
    step = max(1, BLOCK_ROWS // group)
    total = torch.zeros(n_kv, group, n, device=keys.device)
    for start in range(0, m, step):
        end = min(m, start + step)
        seen = n - m + end  # later keys are in the future of the whole block
        part = _scores(queries[:, start:end], keys[:, :seen])
        total[..., :seen] += torch.softmax(part, -1).sum(2)
    return total.flatten(0, 1)


def sparse_share(queries: Tensor, keys: Tensor, *, threshold: float, relative: bool) -> float:
    """See :func:`small_share`, which makes no device wait."""
    return float(small_share(queries, keys, threshold=threshold, relative=relative))


def small_share(queries: Tensor, keys: Tensor, *, threshold: float, relative: bool) -> Tensor:
    """Share of small attention weights among the causally visible ones, mean over query heads.

    Args:
        queries: the last ``m`` queries.
        keys: all keys; as above.
        threshold: a weight counts as small at or below it (``relative`` False) or below ``threshold`` times the
            largest weight of its row (``relative`` True; VL-Cache, section 4.1).

    Returns:
        float64 ``()``, in [0, 1].
    """
    n_q, m, _ = queries.shape
    n = keys.shape[1]
    step = max(1, BLOCK_ROWS // (n_q // keys.shape[0]))
    small = torch.zeros((), dtype=torch.float64, device=keys.device)
    for start in range(0, m, step):
        end = min(m, start + step)
        seen = n - m + end
        weights = torch.softmax(_scores(queries[:, start:end], keys[:, :seen]), -1)
        visible = (
            torch.arange(seen, device=keys.device)
            <= torch.arange(seen - (end - start), seen, device=keys.device)[:, None]
        )
        limit = weights.amax(-1, keepdim=True) * threshold if relative else threshold
        is_small = (weights < limit) if relative else (weights <= limit)
        small += (is_small & visible).sum().double()
    visible_pairs = sum(range(n - m + 1, n + 1))
    return small / (n_q * visible_pairs)


def per_kv_head(received: Tensor, n_kv: int, how: str = "mean") -> Tensor:
    """Reduce scores of query heads ``(n_q_heads, n)`` to kv heads ``(n_kv_heads, n)``: ``mean``, ``max`` or ``sum`` of
    each group, or its ``first`` query head."""
    grouped = received.view(n_kv, -1, received.shape[1])
    if how == "first":
        return grouped[:, 0]
    if how == "sum":
        return grouped.sum(1)
    return grouped.amax(1) if how == "max" else grouped.mean(1)


def pooled(scores: Tensor, kernel: int, kind: str) -> Tensor:
    """Pool scores ``(heads, n)`` over neighbours with stride 1.

    ``avg`` divides by ``kernel`` at the ends, too (zero padding); ``max`` ignores what lies outside.
    """
    if kernel == 1:
        return scores
    half = kernel // 2
    if kind == "max":
        return torch.nn.functional.max_pool1d(scores[None], kernel, 1, half)[0]
    return torch.nn.functional.avg_pool1d(scores[None], kernel, 1, half, count_include_pad=True)[0]


def rows_attention(queries: Tensor, rows: Tensor, keys: Tensor) -> Tensor:
    """Causal attention of chosen positions to all entries, summed over them, per query head.

    Args:
        queries: queries of the chosen positions, ``(n_q_heads, m, head_dim)``.
        rows: their positions among the ``n`` keys, int64 ``(m,)``.
        keys: ``(n_kv_heads, n, head_dim)``.

    Returns:
        float32 ``(n_q_heads, n)``; computed in blocks of rows.
    """
    n_q, m, dim = queries.shape
    n_kv, n, _ = keys.shape
    group = n_q // n_kv
    step = max(1, BLOCK_ROWS // group)
    places = torch.arange(n, device=keys.device)
    total = torch.zeros(n_kv, group, n, device=keys.device)
    transposed = keys.float().transpose(1, 2)
    for start in range(0, m, step):
        part = queries[:, start : start + step].float()
        scores = (part.reshape(n_kv, -1, dim) @ transposed).mul_(dim**-0.5).view(n_kv, group, -1, n)
        scores.masked_fill_(places > rows[start : start + step, None], float("-inf"))
        total += torch.softmax(scores, -1).sum(2)
    return total.flatten(0, 1)
