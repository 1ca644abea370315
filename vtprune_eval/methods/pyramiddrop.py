"""``pyramiddrop``: drop visual tokens in stages, each keeping the same share of the one before.

Xing et al., "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction",
arXiv 2410.17247 (CVPR 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget, largest, rounded
from .base import LayerView, hyper
from .kernels.attention import window_attention
from .kernels.schedules import stage_lengths
from .kernels.staged import Staged, cut_after

if TYPE_CHECKING:
    from torch import Tensor


# Lambda is solved for in steps of this size; a hundredth is the smallest: below, a stage would keep next to nothing.
STEPS = 1_000_000
LEAST = Fraction(1, 100)


@lru_cache(maxsize=64)
def stage_sizes(n: int, allowed: int, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Tokens after every cut, ``max(1, floor(n l^i))``, for the largest share ``l`` that stays within ``allowed``.

    Args:
        n: tokens that enter.
        allowed: tokens that all layers together may process.
        lengths: layers of every stage, the first, which sees all tokens, included.

    Returns:
        zeros where the smallest share processes more.
    """

    def sizes(step: int) -> list[int]:
        return [max(1, n * step**i // STEPS**i) for i in range(1, len(lengths))]

    def fits(step: int) -> bool:
        return n * lengths[0] + sum(a * b for a, b in zip(sizes(step), lengths[1:], strict=True)) <= allowed

    step = largest(fits, int(LEAST * STEPS), STEPS)
    return (0,) * (len(lengths) - 1) if step is None else tuple(sizes(step))


@dataclass(frozen=True)
class PyramidDrop(Staged):
    """Stages after a quarter, half and three quarters of the layers."""

    name: ClassVar[str] = "pyramiddrop"
    paper: ClassVar[str] = "Xing et al., PyramidDrop, arXiv 2410.17247"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "In the reading equal the share l of a stage is the largest for which the mean over all layers is within the "
        "budget; the first stage (a quarter of the layers, rounded) sees every token, and l is at least 0.01.",
        "Stages after L/4, L/2 and 3L/4 layers, which is 8, 16, 24 for the paper's 32.",
        "Positions are kept; the released code renumbers after every stage.",
    )
    paper_reading: ClassVar[str] = (
        "lambda = b %: stage i of the paper keeps int(lambda^i N) of the N visual tokens (the paper runs 50)"
    )

    share: float = hyper(
        0.0,
        "share of the previous stage that is kept (0.5 in the paper); 0 takes it from the budget",
        low=0.0,
        high=1.0,
    )
    at: str = hyper("", "layers (1 is the first) after which tokens are dropped, such as 2/8/16; empty: as published")

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """See :meth:`Method.layers_of`."""
        if self.at:
            return cut_after(self.at, self.name, n_layers)
        ends = {max(1, n_layers * i // 4) for i in (1, 2, 3)}
        return tuple(sorted(e - 1 for e in ends if e < n_layers))

    def least_share(self, n_layers: int) -> Fraction:
        """See :meth:`Method.least_share`; every stage keeps at least a hundredth of the one before."""
        lengths = stage_lengths(self.layers_of(n_layers), n_layers)
        return sum((n * LEAST**i for i, n in enumerate(lengths)), Fraction(0)) / n_layers

    def stage_counts(self, kept: tuple[int, ...], n_layers: int, budget: StageBudget) -> tuple[int, ...]:
        """See :meth:`Method.stage_counts`."""
        if budget.n_keep is None:
            return ()
        n, lengths = sum(kept), stage_lengths(self.layers_of(n_layers), n_layers)
        share = Fraction(self.share).limit_denominator(10**6) if self.share else None
        if budget.asked.reading == "paper":
            share = share or budget.share
        if share is not None:
            return tuple(max(1, rounded(n * share**i, "down")) for i in range(1, len(lengths)))
        return stage_sizes(n, budget.n_keep * n_layers, lengths)

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`; scores come from the next layer's projections of this layer's output."""
        assert view.next_layer is not None
        queries, keys = view.next_layer(torch.arange(len(view.index), device=view.index.device))
        return window_attention(queries[:, -1:], keys).mean(0)
