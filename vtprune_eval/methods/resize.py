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
from ..errors import InfeasibleBudget
from .base import ImageView, Method


@dataclass(frozen=True)
class Resize(Method):
    """Downsampling to a token count."""

    name: ClassVar[str] = "resize"
    default_like: ClassVar[str | None] = "pixelprune"

    def reduce_images(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """See :meth:`Method.reduce_images`."""
        if budget.asked.kind in {"like", "auto"}:
            return tuple(
                scaled_size(v.full_size, v.factor, n) for v, n in zip(images, budget.image_limits, strict=True)
            )
        if budget.asked.reading == "equal" and budget.limit < len(images):
            raise InfeasibleBudget(
                f"resize leaves a token of each of {len(images)} images at least, and {budget.n_keep} were asked for; "
                "give a larger budget."
            )
        return all_within(tuple(v.full_size for v in images), images[0].factor if images else 1, budget.image_limits)


def scaled_size(size: tuple[int, int], factor: int, n: int) -> tuple[int, int]:
    """Both sides times sqrt(n / n_full), truncated, rounded (half to even) to multiples of ``factor``, at least one."""
    width, height = size
    ratio = math.sqrt(max(1, n) / (width * height / factor**2))
    sides = (max(factor, int(width * ratio)), max(factor, int(height * ratio)))
    return max(factor, round(sides[0] / factor) * factor), max(factor, round(sides[1] / factor) * factor)


def all_within(sizes: tuple[tuple[int, int], ...], factor: int, counts: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """:func:`largest_within` for every image; what one leaves over goes to the others, the latest first.

    Args:
        sizes: (width, height) in pixels.
        factor: pixels per merge-block side.
        counts: tokens per image.
    """
    out = [largest_within(size, factor, n) for size, n in zip(sizes, counts, strict=True)]
    left = sum(counts) - sum(w * h // factor**2 for w, h in out)
    for i in reversed(range(len(out))):
        area = out[i][0] * out[i][1] // factor**2
        larger = largest_within(sizes[i], factor, area + left)
        gain = larger[0] * larger[1] // factor**2 - area
        if len(out) > 1 and 0 < gain <= left:
            out[i], left = larger, left - gain
    return tuple(out)


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
