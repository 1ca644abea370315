"""Greedy choices of tokens that differ from each other: one function per rule, all on plain features.

Similarities are cosines. Up to ``MATRIX_TOKENS`` tokens the matrix is held; beyond, rows are computed on demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .twins import first_equal_row

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


# Up to so many tokens (256 MiB) the similarity matrix is held.
MATRIX_TOKENS = 8192
BLOCK = 1024
# Choices between two looks at whether gains have become noise: a look makes the host wait for the device.
LOOK = 64


def unit_rows(x: Tensor) -> Tensor:
    """Rows of length 1, in float32, or in float64 where ``x`` is."""
    return torch.nn.functional.normalize(x if x.dtype == torch.float64 else x.float(), dim=-1)


def max_min(features: Tensor, k: int) -> Tensor:
    """``k`` of ``n`` rows by greedy max-min cosine distance, in the order of choice, int64 ``(k,)``.

    The first row is the one farthest from its nearest neighbour; every next one is the farthest from all chosen. Ties
    go to the lower index on every device: a pair's similarity is computed once for both directions (two rows that are
    each other's nearest tie exactly), and equal rows have equal similarities.
    """
    unit = unit_rows(features)
    n = len(unit)
    if k >= n:
        return torch.arange(n, device=unit.device)
    twin = first_equal_row(unit)
    nearest = unit.new_full((n,), -2.0)
    matrix = unit.new_empty(n, n) if n <= MATRIX_TOKENS else None
    for start in range(0, n, BLOCK):
        similar = unit[start : start + BLOCK] @ unit[start:].T
        end = start + len(similar)
        square = similar[:, : len(similar)].triu(1)
        similar[:, : len(similar)] = square + square.T
        similar.diagonal().fill_(-2.0)  # not its own neighbour
        if matrix is not None:
            matrix[start:end, start:], matrix[start:, start:end] = similar, similar.T
        nearest[start:end] = torch.maximum(nearest[start:end], similar.amax(-1))
        nearest[start:] = torch.maximum(nearest[start:], similar.amax(0))
    # Working on similarities: the farthest token is the one of lowest similarity.
    chosen = torch.empty(k, dtype=torch.long, device=unit.device)
    chosen[0] = (nearest if twin is None else nearest[twin]).argmin()
    closest = unit.new_full((n,), -2.0)
    for i in range(1, k):
        last = chosen[i - 1 : i]  # never read: the host would wait for the device at every choice
        similar = _row(unit, matrix, last)
        torch.maximum(closest, similar if twin is None else similar[twin], out=closest)
        if twin is not None:
            closest.masked_fill_(twin == twin[last], 1.0)  # its twins; the row's own entry is a mark
        closest[chosen[:i]] = float("inf")
        chosen[i] = closest.argmin()
    return chosen


def min_max_scaled(raw: Tensor) -> Tensor:
    """Relevance scaled to (0, 1]: ``(raw - min + 1e-6) / (max - min)``; all 1 if constant."""
    low, high = raw.min(), raw.max()
    return torch.where(high - low < 1e-12, 1.0, (raw - low + 1e-6) / (high - low))


def mean_cosine(features: Tensor, words: Tensor) -> Tensor:
    """Mean cosine of every row ``(n, dim)`` with the ``words`` ``(m, dim)``."""
    return (unit_rows(features) @ unit_rows(words).T).mean(-1)


def greedy_map(features: Tensor, quality: Tensor, k: int) -> Tensor:
    """Greedy MAP of the DPP with kernel ``diag(q) cos(x) diag(q)``, in the order of choice, int64 ``(k,)``.

    Orthogonalising one row per choice (``k n`` floats held); ties go to the lower index. When the kernel has lower rank
    than ``k`` the remaining gains are rounding noise: the tokens of highest quality fill up.
    """
    unit = unit_rows(features)
    quality = quality.to(unit.dtype)
    n = len(unit)
    if k >= n:
        return torch.arange(n, device=unit.device)
    gain = quality.square()
    floor = 1e-6 * gain.max().double()
    similar = unit @ unit.T if n <= MATRIX_TOKENS else None
    rows = unit.new_zeros(k, n)
    taken = torch.zeros(n, dtype=torch.bool, device=unit.device)
    chosen = torch.empty(k, dtype=torch.long, device=unit.device)
    noise = torch.zeros(k, dtype=torch.bool, device=unit.device)  # from which choice on gains are noise
    for i in range(k):
        free = gain.masked_fill(taken, float("-inf"))
        j = free.argmax(0, keepdim=True)
        noise[i : i + 1] = free[j].double() <= floor
        if (i % LOOK == 0 or i == k - 1) and bool(noise[i]):
            n_sure = int(noise[: i + 1].long().argmax())
            taken = torch.zeros_like(taken).index_fill_(0, chosen[:n_sure], True)
            order = torch.sort(quality.masked_fill(taken, float("-inf")), descending=True, stable=True).indices
            chosen[n_sure:] = order[: k - n_sure]
            break
        chosen[i : i + 1] = j
        taken.index_fill_(0, j, True)
        kernel = quality * quality[j] * _row(unit, similar, j)
        rows[i] = (kernel - rows[:i].T @ rows[:i].index_select(1, j)[:, 0]) / gain[j].clamp(min=1e-10).sqrt()
        gain = gain - rows[i].square()
    return chosen


def _row(unit: Tensor, similar: Tensor | None, at: Tensor) -> Tensor:
    """Cosines of all rows to the one ``at`` (int64 ``(1,)``), ``(n,)``; from the matrix where it is held."""
    return unit @ unit.index_select(0, at)[0] if similar is None else similar.index_select(0, at)[0]


def greedy_cover(features: Tensor, weight: Tensor, k: int) -> Tensor:
    """Rows that cover the others best, in the order of choice, int64 ``(k,)``.

    With ``m_i`` the largest cosine of row i to any chosen one (0 at first), every step takes the row of largest
    ``sum_i max(0, S_ij - m_i) * weight_j``; ties go to the lower index.
    """
    unit = unit_rows(features)
    weight = weight.to(unit.dtype)
    n = len(unit)
    if k >= n:
        return torch.arange(n, device=unit.device)
    similar = unit @ unit.T if n <= MATRIX_TOKENS else None
    covered = unit.new_zeros(n)
    taken = torch.zeros(n, dtype=torch.bool, device=unit.device)
    chosen = torch.empty(k, dtype=torch.long, device=unit.device)
    for i in range(k):
        gains = []
        for start in range(0, n, BLOCK):
            rows = unit[start : start + BLOCK] @ unit.T if similar is None else similar[start : start + BLOCK]
            gains.append((rows - covered).clamp(min=0).sum(-1))
        gain = (torch.cat(gains) * weight).masked_fill(taken, float("-inf"))
        j = gain.argmax(0, keepdim=True)
        chosen[i : i + 1] = j
        taken.index_fill_(0, j, True)
        covered = torch.maximum(covered, _row(unit, similar, j))
    return chosen


def thin_out(features: Tensor, order: Tensor, k: int, per_round: int = 8) -> Tensor:
    """Drop the most similar of ``order`` round by round until ``k`` rows are left; the rows left, int64 ``(k,)``.

    A round splits the list into its even and its odd places; of the even ones the ``per_round`` with the largest
    cosine to any odd one go. What is left is the even ones by falling similarity, then the odd ones, so that every
    round changes the next split. A round drops no more than the even half: of a list of odd length, or a short one, the
    published code raises there.
    """
    unit, rest = unit_rows(features), order
    while len(rest) > k:
        even, odd = rest[::2], rest[1::2]
        if not len(odd):
            return rest[:k]
        n = min(per_round, len(rest) - k, len(even))
        similar = (unit[even] @ unit[odd].T).amax(-1)
        falling = torch.sort(similar, descending=True, stable=True).indices
        rest = torch.cat([even[falling[n:]], odd])
    return rest
