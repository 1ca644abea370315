"""``resize``: shrink the image until the model makes as few tokens as the budget allows. The control of every claim.

With a copied count (``like:pixelprune``) the rule of arXiv 2604.00886, section 4.1: both sides times sqrt(r), r the
kept share, truncated to whole pixels, aligned to merge blocks by rounding; the count matches approximately. With a
numeric budget: the largest grid of the same aspect that stays within it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..budget import StageBudget
from .base import ImageView, Method


@dataclass(frozen=True)
class Resize(Method):
    """Downsampling to a token count."""

    name: ClassVar[str] = "resize"
    default_like: ClassVar[str | None] = "pixelprune"

    def reduce_images(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """See :meth:`Method.reduce_images`."""
        copied = budget.asked.kind in {"like", "auto"}
        rule = scaled_size if copied else largest_within
        return tuple(rule(v.full_size, v.factor, n) for v, n in zip(images, budget.image_limits, strict=True))


def scaled_size(size: tuple[int, int], factor: int, n: int) -> tuple[int, int]:
    """Both sides times sqrt(n / n_full), truncated, rounded (half to even) to multiples of ``factor``, at least one."""
    width, height = size
    ratio = math.sqrt(max(1, n) / (width * height / factor**2))
    sides = (max(factor, int(width * ratio)), max(factor, int(height * ratio)))
    return max(factor, round(sides[0] / factor) * factor), max(factor, round(sides[1] / factor) * factor)


def largest_within(size: tuple[int, int], factor: int, n: int) -> tuple[int, int]:
    """The largest grid of at most ``n`` blocks whose aspect is nearest to the image's; at least one block."""
    cols, rows = size[0] // factor, size[1] // factor
    best, best_key = (1, 1), (-1.0, 0.0)
    for r in range(1, min(rows, max(1, n)) + 1):
        c = min(cols, max(1, n) // r)
        # Prefer many blocks, but not at the price of the shape: a 1 x n strip would distort every glyph.
        key = (round(min(r * c / max(1, n), 1.0) - abs(math.log((c / r) / (cols / rows))), 9), r * c)
        if c >= 1 and key > best_key:
            best, best_key = (c, r), key
    return best[0] * factor, best[1] * factor
