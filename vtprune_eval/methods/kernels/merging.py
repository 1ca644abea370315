"""Merging tokens into others: assignment by cosine, bipartite matching, density peaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .diversity import unit_rows

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


def nearest_target(x: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Index into ``targets`` of the largest cosine to each of the ``others``, the first on ties, int64 ``(m,)``."""
    unit = unit_rows(x)
    if not len(others):
        return others.new_empty(0)
    return torch.cat([(unit[part] @ unit[targets].T).argmax(-1) for part in others.split(1024)])


def group_sums(x: Tensor, members: Tensor, group: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Sum of the rows ``members`` of ``x`` in each of ``n`` groups, ``(n, dim)``, and how many they are."""
    wide = x if x.dtype == torch.float64 else x.float()
    sums = wide.new_zeros(n, x.shape[1]).index_add_(0, group, wide[members])
    return sums, torch.bincount(group, minlength=n)


def even_targets(rest: Tensor, n: int) -> Tensor:
    """The first ``n`` of every ``max(1, len // n)``-th of ``rest``."""
    return rest[:: max(1, len(rest) // n)][:n] if n else rest[:0]


def contextual(x: Tensor, keys: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Targets with the mean of the others nearest to them by key added (VisionZip), ``(n_targets, dim)``."""
    sums, counts = group_sums(x, others, nearest_target(keys, targets, others), len(targets))
    return x[targets].to(sums.dtype) + sums / counts.clamp(min=1)[:, None]


def averaged_in(x: Tensor, kept: Tensor, others: Tensor) -> Tensor:
    """Kept rows averaged with the others nearest to them by feature (VScan), ``(n_kept, dim)``."""
    sums, counts = group_sums(x, others, nearest_target(x, kept, others), len(kept))
    return (x[kept].to(sums.dtype) + sums) / (1 + counts)[:, None]


def neighbours_added(x: Tensor, keys: Tensor, weights: Tensor, kept: Tensor, n: int) -> Tensor:
    """Kept rows plus the weighted sum of their ``n`` most similar rows by key (PruMerge), ``(n_kept, dim)``.

    Weights are used as they are, kept rows count among the neighbours, and what is added are original features.
    """
    unit, wide, parts = unit_rows(keys), (x if x.dtype == torch.float64 else x.float()), []
    for part in kept.split(256):
        similar = unit[part] @ unit.T
        similar[torch.arange(len(part), device=part.device), part] = float("-inf")
        near = similar.topk(min(n, len(x) - 1), dim=-1).indices
        parts.append(wide[part] + (weights[near][..., None].to(wide.dtype) * wide[near]).sum(1))
    return torch.cat(parts)


@dataclass(frozen=True)
class Matching:
    """One step of bipartite soft matching among ``t`` tokens.

    Attributes:
        order: rows before the step in the order after it, int64 ``(t - r,)``: unmerged even rows, then odd rows.
        merged: rows that vanish, by falling similarity, int64 ``(r,)``.
        into: the row that each is merged into.
    """

    order: Tensor
    merged: Tensor
    into: Tensor

    def sums(self, x: Tensor) -> Tensor:
        """Rows of ``x`` ``(t, ...)`` with the merged ones added to theirs, in the new order."""
        return x.index_add(0, self.into, x[self.merged])[self.order]

    def source(self, source: Tensor) -> Tensor:
        """Where each original token is now, given the row ``source`` where it was before the step."""
        to = torch.arange(len(self.order) + len(self.merged), device=self.order.device)
        to[self.merged] = self.into
        place = torch.empty_like(to)
        place[self.order] = torch.arange(len(self.order), device=place.device)
        return place[to[source]]


def bipartite(metric: Tensor, r: int, *, class_token: bool = False) -> Matching:
    """Match even rows with their most similar odd row; the ``r`` best pairs are merged (ToMe, section 3).

    Args:
        metric: ``(t, dim)``, what similarity is read from.
        r: at most ``(t - protected) // 2`` are merged.
        class_token: row 0 is one, and is never merged; the other even rows then keep their order.
    """
    unit, t = unit_rows(metric), len(metric)
    r = max(0, min(r, (t - class_token) // 2))
    even, odd = torch.arange(0, t, 2, device=metric.device), torch.arange(1, t, 2, device=metric.device)
    if r == 0:
        nothing = even[:0]
        return Matching(torch.arange(t, device=metric.device), nothing, nothing)
    blocks = [(unit[part] @ unit[odd].T).max(-1) for part in even.split(1024)]
    value, index = torch.cat([b.values for b in blocks]), torch.cat([b.indices for b in blocks])
    if class_token:
        value[0] = float("-inf")
    falling = torch.sort(value, descending=True, stable=True).indices
    stay = falling[r:].sort().values if class_token else falling[r:]
    return Matching(torch.cat([even[stay], odd]), even[falling[:r]], odd[index[falling[:r]]])


@dataclass(frozen=True)
class Clusters:
    """Clusters of ``m`` rows.

    Attributes:
        centres: rows, by falling score, int64 ``(n,)``.
        assign: index into ``centres`` per row, int64 ``(m,)``.
        means: ``(n, dim)``.
    """

    centres: Tensor
    assign: Tensor
    means: Tensor


def density_peaks(x: Tensor, n: int) -> Clusters:
    """``n`` clusters of the rows of ``x`` ``(m, dim)`` by density peaks, as SparseVLM recycles tokens.

    Distances are Euclidean over sqrt(dim); a density is exp of minus the mean square of the ``n`` smallest (the zero to
    itself included). Of two rows of equal density the earlier counts as denser: the published code separates them by
    random noise, and with two clusters every pair of mutual nearest neighbours is such a pair.
    """
    wide = x.double()
    product = wide @ wide.T
    product = (product + product.T) / 2  # exactly symmetric, so that mutual neighbours have equal densities
    square = product.diagonal()
    distance = ((square[:, None] + square[None]) - 2 * product).clamp(min=0).fill_diagonal_(0).sqrt()
    distance = distance / x.shape[1] ** 0.5
    density = (-distance.topk(min(n, len(x)), largest=False).values.square().mean(-1)).exp()
    order = torch.arange(len(x), device=x.device)
    denser = (density[None] > density[:, None]) | ((density[None] == density[:, None]) & (order[None] < order[:, None]))
    gap = distance.masked_fill(~denser, float("inf")).amin(-1).minimum(distance.max())
    centres = torch.sort(density * gap, descending=True, stable=True).indices[:n]
    assign = distance[:, centres].argmin(-1)
    assign[centres] = torch.arange(len(centres), device=x.device)
    sums, counts = group_sums(x, order, assign, len(centres))
    return Clusters(centres, assign, sums / (counts[:, None] + 1e-6))
