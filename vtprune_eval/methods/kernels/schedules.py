"""Counts by layer, stage and head: the integer tables of the staged and the pyramidal methods."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


def nearest_share(n: int, share: float) -> int:
    """``round(n share)``, half to even, in double precision: the count of fastv, divprune and hiprune."""
    return round(n * share)


def floor_share(n: int, share: float) -> int:
    """``int(n share)`` in double precision, which can be one less than the exact product: pyramiddrop, vscan."""
    return int(n * share)


def stage_lengths(ends: Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Layers before the first of the layers ``ends`` after which tokens are dropped, between them, and behind."""
    bounds = [0, *(e + 1 for e in ends), n_layers]
    return tuple(b - a for a, b in itertools.pairwise(bounds))


def pyramid_past(layer: int, n_layers: int, past: int, candidates: int, beta: int) -> int:
    """PyramidKV, the authors' integers: entries before the window at one layer.

    ``hi - layer * step`` with ``lo = past // beta``, ``hi = 2 past - lo`` (capped at ``candidates``, which raises
    ``lo``) and ``step = (hi - lo) // (n_layers - 1)``. The floor makes the mean larger than ``past`` at short prompts.

    Args:
        layer: index from 0.
        n_layers: their number.
        past: the uniform share.
        candidates: entries before the window.
        beta: the highest layer keeps about ``past / beta``.
    """
    low = past // beta
    high = 2 * past - low
    if high >= candidates:
        high = candidates
        low = 2 * past - high
    return high - layer * ((high - low) // (n_layers - 1))


def pyramid_entries(layer: int, n_layers: int, n: int, capacity: int, window: int, beta: int) -> int:
    """PyramidKV, the authors' integers: entries of one layer, the window included, of a prompt of ``n``.

    Uniform where the prompt is shorter than twice the share before the window; everything where it is shorter than
    ``capacity``.
    """
    past = capacity - window
    if n < capacity:
        return n
    if n < 2 * past or n_layers < 2:
        return capacity
    return window + pyramid_past(layer, n_layers, past, n - window, beta)


def sink_and_recent(size: int, n: int, sinks: int = 4, recent: int | None = None) -> tuple[int, int]:
    """First and last entries of ``n`` that StreamingLLM keeps, ``size`` in all.

    Args:
        size: entries.
        n: entries of the prompt.
        sinks: first ones.
        recent: last ones where their number is given.
    """
    if n < size:
        return min(sinks, n), n - min(sinks, n)
    last = max(0, size - sinks) if recent is None else min(recent, size)
    return size - last, last


def pyramid_exact(layer: int, n_layers: int, n: int, mean: float, window: int, beta: int) -> int:
    """PyramidKV, the real-valued steps of kvpress: entries of one layer, the window included, which do not overspend.

    Args:
        n: entries of the prompt.
        mean: entries that a layer keeps on average, a real number.
    """
    capacity = window + mean
    low = (capacity - window) / beta
    high = 2 * (capacity - window) - low
    if high >= n - window:
        high = n - window
        low = 2 * (capacity - window) - high
    if not n >= high >= low >= window:
        return round(mean)
    return round(high - layer * (high - low) / (n_layers - 1))


def ada_counts(scores: Tensor, base: int, normalize: bool = False) -> Tensor:
    """AdaKV: how many of the ``heads * base`` best entries of all heads together fall in each head, int64 ``(heads,)``.

    Args:
        scores: ``(heads, past)``.
        base: mean entries per head before the window.
        normalize: scale the scores of a head by its best ``base`` over all of its own, for this step only.
    """
    heads, past = scores.shape
    if normalize:
        scores = scores * (scores.topk(base, -1).values.sum(-1) / scores.sum(-1))[:, None]
    order = torch.sort(scores.reshape(-1), descending=True, stable=True).indices[: heads * base]
    return torch.bincount(order // past, minlength=heads)


def ada_sizes(counts: Tensor, base: int, floor_share: float) -> list[int]:
    """AdaKV: entries per head, ``round(count (1 - share) + int(base share))``, half to even, at most all."""
    floor = int(base * floor_share)
    return [round(c * (1 - floor_share) + floor) for c in counts.tolist()]


def ada_exact(counts: Tensor, base: int, floor_share: float, most: int) -> list[int]:
    """The same sizes, made to add up to ``heads * base``: the largest remainders get what rounding left.

    Args:
        counts: of :func:`ada_counts`.
        base: mean entries per head.
        floor_share: as there.
        most: that a head has.
    """
    exact = [c * (1 - floor_share) + base * floor_share for c in counts.tolist()]
    sizes = [min(most, int(size)) for size in exact]
    order = sorted(range(len(sizes)), key=lambda h: (sizes[h] - exact[h], h))
    left = min(len(sizes) * base, len(sizes) * most) - sum(sizes)
    while left > 0:
        for h in order:
            if left > 0 and sizes[h] < most:
                sizes[h] += 1
                left -= 1
    return sizes


def kvpress_heads(scores: Tensor, n: int, certain: int) -> Tensor:
    """AdaKV as in kvpress: which entries stay, bool ``(heads, L)``.

    Every head keeps its best ``certain``; of the others the ``heads * (L - n)`` smallest of all heads together go.
    """
    heads, length = scores.shape
    safe = scores.clone()
    if certain:
        safe.scatter_(1, scores.topk(certain, -1).indices, float("inf"))
    keep = torch.ones(heads * length, dtype=torch.bool, device=scores.device)
    keep[torch.sort(safe.reshape(-1), stable=True).indices[: heads * (length - n)]] = False
    return keep.view(heads, length)


def sparsity_shares(gammas: Sequence[float], share: float, *, own_window: bool = False) -> tuple[float, ...]:
    """VL-Cache, a public port's reading: share of its entries that each layer keeps before the window.

    Args:
        gammas: sparsity per layer.
        share: kept share of the prompt.
        own_window: the window comes on top of the layer's budget; otherwise 10 % of the budget are the window.

    Returns:
        the shares, clipped and not balanced; equal ones where every layer is fully sparse.
    """
    dense = [1 - g for g in gammas]
    low, part = (0.01, 1.0) if own_window else (0.009, 0.9)
    total = sum(dense)
    shares = [d / total for d in dense] if total > 0 else [1 / len(dense)] * len(dense)
    return tuple(min(1.0, max(low, s * share * part * len(dense))) for s in shares)
