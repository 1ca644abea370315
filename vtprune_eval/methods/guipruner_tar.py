"""``guipruner-tar``: temporal-adaptive resolution, the history half of GUIPruner.

Xu et al., "Spatio-Temporal Token Pruning for Efficient High-Resolution GUI Agents", arXiv 2602.23235, equations 1 to 3.
Older history screenshots get fewer tokens, by resizing them before the vision encoder; the current (last) screenshot
stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..budget import StageBudget
from .base import ImageView, Method, hyper

# A float product just below a whole number counts as that number (0.1 * 10 * 40 must give 40 tokens).
EPSILON = 1e-9


def quotas(n_frames: int, n_full: int, share: float, gamma: float) -> tuple[float, ...]:
    """Tokens per history frame, newest first (equations 1 to 3).

    Args:
        n_frames: history frames T; n_full: tokens of one full frame; share: kept share lambda; gamma: weight of the
            oldest frame against 1 for the newest.

    Returns:
        ``floor(T n_full lambda) w_k / sum w``, ``w_k = gamma + (1 - gamma) (T - k) / (T - 1)``; one frame gets all.
    """
    budget = math.floor(n_frames * n_full * share + EPSILON)
    if n_frames == 1:
        return (float(budget),)
    weights = [gamma + (1 - gamma) * (n_frames - k) / (n_frames - 1) for k in range(1, n_frames + 1)]
    return tuple(budget * w / sum(weights) for w in weights)


@dataclass(frozen=True)
class GuiPrunerTAR(Method):
    """Linear decay of resolution over the history."""

    name: ClassVar[str] = "guipruner-tar"
    paper: ClassVar[str] = "Xu et al., GUIPruner, arXiv 2602.23235"
    deviations: ClassVar[tuple[str, ...]] = (
        "No official code exists. The rule from quota to pixels follows a public reproduction (floor to whole blocks).",
        "A frame is never enlarged: a quota above its own tokens is clamped, and the surplus goes to no one.",
        "With a numeric budget lambda is that share; auto is the paper's lambda = 0.4. A single image is left alone.",
    )
    adaptive: ClassVar[bool] = True

    lam: float = hyper(
        0.0,
        "lambda, share of the history's tokens (paper: 0.4, 0.2, 0.1); 0 takes the budget, or 0.4 with auto",
        low=0.0,
        high=1.0,
    )
    gamma: float = hyper(0.2, "weight of the oldest frame; 1 is the uniform ablation", low=0.0, high=1.0)

    @property
    def resample(self) -> str:
        """The reproduction's filter."""
        return "bilinear"

    def reduce_images(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """See :meth:`Method.reduce_images`; the last image is the current screenshot."""
        history = images[:-1]
        if not history:
            return tuple(i.full_size for i in images)
        share = self.lam or (0.4 if budget.n_keep is None else float(budget.share))
        if share >= 1:  # the decay over age would still shrink the older frames
            return tuple(i.full_size for i in images)
        width, height = history[-1].full_size
        n_full = (width // history[-1].factor) * (height // history[-1].factor)
        newest_first = quotas(len(history), n_full, share, self.gamma)
        sizes = [_shrunk(image, quota) for image, quota in zip(history, reversed(newest_first), strict=True)]
        return (*sizes, images[-1].full_size)


def _shrunk(image: ImageView, quota: float) -> tuple[int, int]:
    """Size with at most ``quota`` tokens (at least one), both sides scaled alike and floored to whole blocks."""
    cols, rows = (side // image.factor for side in image.full_size)
    scale = math.sqrt(quota / (cols * rows))
    if scale >= 1 - EPSILON:
        return image.full_size
    return tuple(max(1, math.floor(n * scale + EPSILON)) * image.factor for n in (cols, rows))  # type: ignore[return-value]
